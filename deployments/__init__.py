"""The replica side: one configured model, loaded once, answering the requests of many callers."""
