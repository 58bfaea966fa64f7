"""Options, tables and progress bars shared by the commands."""
