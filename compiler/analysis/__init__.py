"""What the rules of fusion ask of a graph: linear predictors, and rows that are alike."""
