"""Sums up the numbers of a query, on port 8000: /?2,3,5"""

import json
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy
import pandas


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        numbers = [float(text) for text in self.path.partition("?")[2].split(",") if text]
        series = pandas.Series(numbers, dtype=numpy.float64)
        answer = {"count": int(series.count()), "sum": series.sum(), "mean": series.mean()}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


HTTPServer(("", 8000), Handler).serve_forever()
