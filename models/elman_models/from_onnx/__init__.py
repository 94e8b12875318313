"""An .onnx file as a bundle: its operators one by one as torch's functions, from a closed table; onnxruntime alone runs
it, to be compared with."""
