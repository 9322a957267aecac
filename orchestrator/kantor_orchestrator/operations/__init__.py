"""What the command line and the API share: the operator actions, and what condition the platform is in."""
