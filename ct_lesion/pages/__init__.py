"""What all HTML pages share: environment, stylesheets, palette, blocks, tables, disclaimer."""
