"""What the web tier, the workers and the command line share. Imports no other room, and neither
torch nor Flask."""
