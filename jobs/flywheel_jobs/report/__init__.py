"""One self-contained HTML file per round: `load` reads the store, `render` draws, and neither knows of the other."""
