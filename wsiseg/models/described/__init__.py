"""Networks that others exported, in TorchScript or ONNX, described by a small TOML file."""
