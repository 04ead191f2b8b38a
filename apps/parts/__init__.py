"""What the apps are made of: the shell of a page, views, maps and their colours, runs and the library of them."""
