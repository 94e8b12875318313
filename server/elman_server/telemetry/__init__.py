"""All metrics, declared once, and the histograms behind them."""
