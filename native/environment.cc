/*
 * What TensorFlow reads from the environment as it is loaded, and when its first context is made. An addon of its own that is loaded before TensorFlow's,
 * because `process.env` of a worker thread is a copy that C does not see.
 */
#include <stdlib.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

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
#ifdef __GLIBC__
  /*
   * Tensors and frames of a step are as large as those of the step before: their memory is used again, and not given back to be had again page by page,
   * which took a twentieth of a step. 32 MiB is the most that glibc takes for the first.
   */
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
#endif
}

/* Node takes a library for an addon only if it has this. */
extern "C" __attribute__((visibility("default"))) void *napi_register_module_v1(void *, void *exports) { return exports; }
