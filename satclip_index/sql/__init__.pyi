from .connection import connect as connect
