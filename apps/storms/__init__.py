"""The typhoon explorer: one storm in every source of a run, member by member."""
