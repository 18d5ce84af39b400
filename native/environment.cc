/*
 * What TensorFlow reads from the environment as it is loaded, and when its first context is made. An addon of its own that is loaded before TensorFlow's,
 * because `process.env` of a worker thread is a copy that C does not see.
 */
#include <stdlib.h>

__attribute__((constructor)) static void prepare_environment() {
  /* A PNode is one worker thread. And sums that several threads share have no order of their own. */
  setenv("TF_NUM_INTRAOP_THREADS", "1", 1);
  setenv("TF_NUM_INTEROP_THREADS", "1", 1);
  /* Which kernels are taken decides bits, and the compute class names the machine's own choice. */
  setenv("TF_ENABLE_ONEDNN_OPTS", "1", 1);
  unsetenv("ONEDNN_MAX_CPU_ISA");
  unsetenv("DNNL_MAX_CPU_ISA");
  unsetenv("ONEDNN_CPU_ISA_HINTS");
  unsetenv("ONEDNN_DEFAULT_FPMATH_MODE");
  /* Errors alone: nothing of ours is told by its log. */
  setenv("TF_CPP_MIN_LOG_LEVEL", "2", 0);
  /* Of a GPU's memory only what is needed: several workers share it. */
  setenv("TF_FORCE_GPU_ALLOW_GROWTH", "true", 0);
}

/* Node takes a library for an addon only if it has this. */
extern "C" __attribute__((visibility("default"))) void *napi_register_module_v1(void *, void *exports) { return exports; }
