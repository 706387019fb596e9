"""Rewards, advantages and credit (numpy), losses and packing (torch), the loop."""
