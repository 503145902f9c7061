"""What the hot modules cost, in instructions: a change that costs more than 5 % is seen."""
