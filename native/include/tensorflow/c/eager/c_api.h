/* What tfjs-node's addon uses of TensorFlow's eager C API: see ../c_api.h. From tensorflow/c/eager/c_api.h (Apache License 2.0, The TensorFlow Authors). */
#pragma once
#include "tensorflow/c/c_api.h"
#ifdef __cplusplus
extern "C" {
#endif
typedef struct TFE_ContextOptions TFE_ContextOptions; typedef struct TFE_Context TFE_Context;
typedef struct TFE_TensorHandle TFE_TensorHandle; typedef struct TFE_Op TFE_Op;
TFE_ContextOptions* TFE_NewContextOptions(void); void TFE_DeleteContextOptions(TFE_ContextOptions*);
void TFE_ContextOptionsSetConfig(TFE_ContextOptions*, const void* proto, size_t proto_len, TF_Status*);
TFE_Context* TFE_NewContext(const TFE_ContextOptions*, TF_Status*); void TFE_DeleteContext(TFE_Context*);
TF_DeviceList* TFE_ContextListDevices(TFE_Context*, TF_Status*);
TFE_TensorHandle* TFE_NewTensorHandle(const TF_Tensor*, TF_Status*); void TFE_DeleteTensorHandle(TFE_TensorHandle*);
TF_DataType TFE_TensorHandleDataType(TFE_TensorHandle*); int TFE_TensorHandleNumDims(TFE_TensorHandle*, TF_Status*);
int64_t TFE_TensorHandleDim(TFE_TensorHandle*, int, TF_Status*);
TF_Tensor* TFE_TensorHandleResolve(TFE_TensorHandle*, TF_Status*);
TFE_TensorHandle* TFE_TensorHandleCopyToDevice(TFE_TensorHandle*, TFE_Context*, const char* device_name, TF_Status*);
TFE_Op* TFE_NewOp(TFE_Context*, const char*, TF_Status*); void TFE_DeleteOp(TFE_Op*);
void TFE_OpAddInput(TFE_Op*, TFE_TensorHandle*, TF_Status*);
void TFE_OpSetAttrString(TFE_Op*, const char*, const void* value, size_t length);
void TFE_OpSetAttrInt(TFE_Op*, const char*, int64_t); void TFE_OpSetAttrFloat(TFE_Op*, const char*, float);
void TFE_OpSetAttrBool(TFE_Op*, const char*, unsigned char); void TFE_OpSetAttrType(TFE_Op*, const char*, TF_DataType);
void TFE_OpSetAttrShape(TFE_Op*, const char*, const int64_t* dims, const int num_dims, TF_Status*);
void TFE_OpSetAttrIntList(TFE_Op*, const char*, const int64_t*, int);
void TFE_OpSetAttrFloatList(TFE_Op*, const char*, const float*, int);
void TFE_OpSetAttrBoolList(TFE_Op*, const char*, const unsigned char*, int);
void TFE_Execute(TFE_Op*, TFE_TensorHandle** retvals, int* num_retvals, TF_Status*);
#ifdef __cplusplus
}
#endif
