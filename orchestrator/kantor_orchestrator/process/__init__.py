"""What every process of ours has: threads beside its own, health, memory that goes back."""
