"""Models as ONNX files, which run without PyTorch.

``graphs.py`` says what a graph computes, ``onnx_file.py`` writes it with its metadata, and
``onnx_check.py`` compares it with the network. docs/onnx.md describes the files.
"""
