/* A library that answers as libnvidia-ml.so.1 does, for tests. What it says is chosen when it is compiled: GPUS, ARCH, FAIL, REPORT_SIZE, CHAIN_SIZE, and
   OLD for a driver without confidential computing. Reports are those in report.h, with the nonce that was asked for in its place. */

#include <stdint.h>
#include <string.h>

#include "figures.h"

#ifndef GPUS
#define GPUS 2
#endif
#ifndef ARCH
#define ARCH 9
#endif
#ifndef FAIL
#define FAIL 0
#endif
#ifndef REPORT_SIZE
#define REPORT_SIZE sizeof figure_report
#endif
#ifndef CHAIN_SIZE
#define CHAIN_SIZE sizeof figure_chain
#endif

typedef int nvmlReturn_t;
typedef struct nvmlDevice_st { unsigned index; } *nvmlDevice_t;

typedef struct {
	unsigned int isCecAttestationReportPresent, attestationReportSize, cecAttestationReportSize;
	unsigned char nonce[0x20], attestationReport[0x2000], cecAttestationReport[0x1000];
} nvmlConfComputeGpuAttestationReport_t;

typedef struct {
	unsigned int certChainSize, attestationCertChainSize;
	unsigned char certChain[0x1000], attestationCertChain[0x1400];
} nvmlConfComputeGpuCertificate_t;

static struct nvmlDevice_st devices[64];
static int ready;

nvmlReturn_t nvmlInit_v2(void) { ready = 1; return 0; }
nvmlReturn_t nvmlShutdown(void) { return ready ? 0 : 1; }
const char *nvmlErrorString(nvmlReturn_t r) { return r == 3 ? "Not Supported" : "Unknown Error"; }

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int *count) { *count = GPUS; return ready ? 0 : 1; }

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t *device)
{
	if (index >= GPUS)
		return 2;
	devices[index].index = index;
	*device = &devices[index];
	return 0;
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *uuid, unsigned int length)
{
	static const char text[] = "GPU-00000000-0000-0000-0000-00000000000X";
	if (length < sizeof text)
		return 7;
	memcpy(uuid, text, sizeof text);
	uuid[sizeof text - 2] = 'a' + device->index;
	return 0;
}

nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device, unsigned int *arch) { *arch = ARCH; return device ? 0 : 2; }

#ifndef OLD
nvmlReturn_t nvmlDeviceGetConfComputeGpuAttestationReport(nvmlDevice_t device, nvmlConfComputeGpuAttestationReport_t *r)
{
	if (FAIL && device->index == GPUS - 1)
		return FAIL;
	memcpy(r->attestationReport, figure_report, sizeof figure_report);
	memcpy(r->attestationReport + 4, r->nonce, sizeof r->nonce);
	memset(r->cecAttestationReport, 0xee, sizeof r->cecAttestationReport);
	r->attestationReportSize = REPORT_SIZE;
	return 0;
}

nvmlReturn_t nvmlDeviceGetConfComputeGpuCertificate(nvmlDevice_t device, nvmlConfComputeGpuCertificate_t *c)
{
	memset(c->certChain, 0xee, sizeof c->certChain);
	memcpy(c->attestationCertChain, figure_chain, sizeof figure_chain);
	c->attestationCertChainSize = CHAIN_SIZE;
	return device ? 0 : 2;
}
#endif
