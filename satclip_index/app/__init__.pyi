from .launch import serve_map as serve_map
