"""`manage.py up|status|down|reset|doctor`: the parts of the stack as child processes of one command."""
