"""What every HTML page shares: environment, stylesheet, palette, blocks, tables, the notice."""
