"""An .onnx file as a bundle: its operators one by one as torch's own functions, from a closed table; it is never run but
by onnxruntime, once, to be compared with."""
