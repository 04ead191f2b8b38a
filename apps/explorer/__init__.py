"""The ensemble explorer: state is plain `param`, computation is `labkit`, views are thin Panel viewers."""
