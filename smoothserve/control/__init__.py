"""What master and workers share: messages, the channel that carries them, the scoreboard, launch messages."""
