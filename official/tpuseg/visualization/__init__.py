"""Drawing labels and predictions, and the HTML page of predictions."""
