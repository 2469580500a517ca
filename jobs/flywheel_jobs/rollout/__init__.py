"""Serving: weights into a pod (`fetch`) and the Ray Serve LLM application on vLLM (`app`)."""
