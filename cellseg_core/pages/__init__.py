"""What the HTML pages that cellseg writes have in common: looks, tables, pictures."""
