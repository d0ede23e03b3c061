// SPDX-License-Identifier: Apache-2.0
/*
 * A stand-in for libnvidia-ml.so.1: the C functions that the daemon calls, answering from a text file that a test
 * rewrites while the daemon runs. The file is `script` beside the library; it is read anew at each call.
 *
 *   cc -shared -fPIC -O1 -o DIR/libnvidia-ml.so.1 nvml.c
 *
 * One line each; keys that are left out have the value in brackets:
 *   driver code=9 epoch=1     code: what nvmlInit and every other call answer [0]; epoch: when it changes, the driver
 *                             was restarted, and every call answers UNINITIALIZED until the next nvmlInit [0]
 *   gpu 0 uuid=GPU-aaaa name=H100 limit_mw=700000
 *         energy_mj=5         the counter; without it base_mj [0] plus power_mw times the seconds since nvmlInit
 *         energy=0            that call is NOT_SUPPORTED (before Volta) [1]
 *         power_mw=300000 util=40 memutil=10
 *         usage=0             process utilisation is NOT_SUPPORTED [1]; mig=1 does the same
 *         mig=1 gpm=1         instances; and whether GPM_SUPPORT says yes [0]
 *         lost=1 fail=3       every call on it answers GPU_IS_LOST, or this code
 *         slow_ms=100         its energy call takes so long
 *   mig 0 2 uuid=MIG-bbbb gi=1 ci=0 slices=3 sm_util=50     instance 2 of GPU 0
 *   proc 0 pid=1234 mem=1048576 gi=1 ci=0 sm=40 memutil=3   a compute process; with sm it is sampled at each query
 *   gfx 0 pid=1235                                          a graphics process
 *   busy 0 ts=1000000 value=40                              a period of the device as the driver kept it
 *   sample 0 pid=1234 ts=1000000 sm=40 mem=3 enc=0 dec=0    a sample as the driver kept it, in microseconds
 *
 * Indices follow the order of the lines, so that a GPU that is unplugged moves the others, as in the real library.
 * Struct layouts and return codes are those of NVIDIA's nvml.h; what is answered when is from its documentation
 * and, where README.md of power-sources says so, from a real H100.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7, LOST = 15
};
#define MOST_GPUS 16
#define MOST_INSTANCES 8
#define NOTHING 0xffffffffu

typedef struct { char kind[4]; unsigned gpu, index; } handle; /* "gpu" or "mig" */
typedef struct { unsigned pid; unsigned long long mem; unsigned gi, ci; } process;
typedef struct { unsigned pid; unsigned long long ts; unsigned sm, mem, enc, dec; } utilisation;
typedef struct { unsigned gpu, memory; } rates;
typedef struct { unsigned long long ts; union { double d; unsigned u; unsigned long long ull; } value; } period;
typedef struct { unsigned sms, copy, dec, enc, jpeg, ofa, gi_slices, ci_slices; unsigned long long mib; } attributes;
typedef struct { unsigned gpu, gi; int taken; } sample;
typedef struct {
    unsigned id; int result; double value;
    struct { char *short_name, *long_name, *unit; } info;
} metric;
typedef struct { unsigned version, count; sample *first, *second; metric metrics[98]; } metrics_get;
typedef struct { unsigned version, supported; } gpm_support;

static int users; /* nvmlInit counts, as the real one does */
static unsigned epoch;
static struct timespec since_init;
static handle gpus[MOST_GPUS], instances[MOST_GPUS][MOST_INSTANCES];
static __thread char line[512];

static FILE *script(void)
{
    static char path[4096];
    if (!path[0]) {
        Dl_info here;
        char *slash;
        if (!dladdr((void *)&users, &here))
            return NULL;
        snprintf(path, sizeof path - 8, "%s", here.dli_fname);
        slash = strrchr(path, '/');
        if (!slash)
            return NULL;
        strcpy(slash + 1, "script");
    }
    return fopen(path, "r");
}

/* The next line of this kind and GPU; any GPU where that is NOTHING. */
static int next(FILE *file, const char *kind, unsigned gpu)
{
    while (fgets(line, sizeof line, file)) {
        char word[8];
        unsigned number = 0;
        int read = sscanf(line, "%7s %u", word, &number);
        if (read >= 1 && !strcmp(word, kind) && (gpu == NOTHING || (read == 2 && number == gpu)))
            return 1;
    }
    return 0;
}

static int has(const char *key, char *value, size_t size)
{
    char pattern[32], *at;
    snprintf(pattern, sizeof pattern, " %s=", key);
    at = strstr(line, pattern);
    if (!at)
        return 0;
    at += strlen(pattern);
    snprintf(value, size, "%.*s", (int)strcspn(at, " \n"), at);
    return 1;
}

static unsigned long long number(const char *key, unsigned long long otherwise)
{
    char value[32];
    return has(key, value, sizeof value) ? strtoull(value, NULL, 0) : otherwise;
}

static int text(const char *key, const char *otherwise, char *out, unsigned size)
{
    char value[128];
    snprintf(out, size, "%s", has(key, value, sizeof value) ? value : otherwise);
    return OK;
}

/* What the driver as a whole answers. */
static int driver(unsigned *its_epoch)
{
    FILE *file = script();
    int code = OK;
    *its_epoch = 0;
    if (!file)
        return UNINITIALIZED;
    if (next(file, "driver", NOTHING)) {
        code = (int)number("code", 0);
        *its_epoch = (unsigned)number("epoch", 0);
    }
    fclose(file);
    return code;
}

static int ready(void)
{
    unsigned now;
    int code = driver(&now);
    if (code)
        return code;
    return users && now == epoch ? OK : UNINITIALIZED;
}

/* Leaves the line of this device in `line`. */
static int find(const handle *device)
{
    FILE *file;
    int found = 0, code = ready();
    if (code)
        return code;
    if (!device || !(file = script()))
        return INVALID;
    if (!strcmp(device->kind, "mig")) {
        unsigned gpu, index;
        while (!found && next(file, "mig", device->gpu))
            found = sscanf(line, "mig %u %u", &gpu, &index) == 2 && index == device->index;
    } else {
        found = next(file, "gpu", device->gpu);
    }
    fclose(file);
    if (!found)
        return strcmp(device->kind, "mig") ? LOST : NOT_FOUND;
    if (number("lost", 0))
        return LOST;
    return (int)number("fail", 0);
}

static int is_instance(const handle *device) { return !strcmp(device->kind, "mig"); }

static long long elapsed_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (now.tv_sec - since_init.tv_sec) * 1000LL + (now.tv_nsec - since_init.tv_nsec) / 1000000;
}

int nvmlInit_v2(void)
{
    unsigned now;
    int code = driver(&now);
    if (code)
        return code;
    if (!users || now != epoch)
        clock_gettime(CLOCK_MONOTONIC, &since_init);
    epoch = now;
    users++;
    return OK;
}
int nvmlInitWithFlags(unsigned flags) { (void)flags; return nvmlInit_v2(); }
int nvmlShutdown(void) { if (!users) return UNINITIALIZED; users--; return OK; }
const char *nvmlErrorString(int code) { (void)code; return "of the stand-in"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { snprintf(out, size, "570.00"); return OK; }
int nvmlSystemGetNVMLVersion(char *out, unsigned size) { snprintf(out, size, "12.570.00"); return OK; }

int nvmlDeviceGetCount_v2(unsigned *count)
{
    FILE *file;
    int code = ready();
    *count = 0;
    if (code)
        return code;
    if ((file = script())) {
        while (next(file, "gpu", NOTHING))
            ++*count;
        fclose(file);
    }
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, handle **out)
{
    FILE *file;
    unsigned at = 0, gpu = NOTHING;
    int code = ready();
    if (code)
        return code;
    if (!(file = script()))
        return INVALID;
    while (gpu == NOTHING && next(file, "gpu", NOTHING))
        if (at++ == index)
            sscanf(line, "gpu %u", &gpu);
    fclose(file);
    if (gpu >= MOST_GPUS)
        return INVALID;
    strcpy(gpus[gpu].kind, "gpu");
    gpus[gpu].gpu = gpu;
    *out = &gpus[gpu];
    return find(*out);
}
int nvmlDeviceGetUUID(handle *device, char *out, unsigned size)
{
    int code = find(device);
    return code ? code : text("uuid", "GPU-0", out, size);
}
int nvmlDeviceGetName(handle *device, char *out, unsigned size)
{
    int code = find(device);
    return code ? code : text("name", "Stand-in", out, size);
}
int nvmlDeviceGetPowerManagementLimitConstraints(handle *device, unsigned *least, unsigned *most)
{
    int code = find(device);
    if (code)
        return code;
    *least = 100000;
    *most = (unsigned)number("limit_mw", 0);
    return *most ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetPowerUsage(handle *device, unsigned *milliwatts)
{
    int code = find(device);
    if (!code && is_instance(device))
        return NOT_SUPPORTED;
    if (!code)
        *milliwatts = (unsigned)number("power_mw", 0);
    return code;
}
int nvmlDeviceGetTotalEnergyConsumption(handle *device, unsigned long long *millijoules)
{
    int code = find(device);
    unsigned long long slow;
    if (code)
        return code;
    slow = number("slow_ms", 0);
    if (slow) {
        struct timespec rest = { (time_t)(slow / 1000), (long)(slow % 1000) * 1000000 };
        nanosleep(&rest, NULL);
    }
    if (is_instance(device) || !number("energy", 1))
        return NOT_SUPPORTED;
    *millijoules = number("energy_mj",
                          number("base_mj", 0) + number("power_mw", 0) * (unsigned long long)elapsed_ms() / 1000);
    return OK;
}
int nvmlDeviceGetUtilizationRates(handle *device, rates *out)
{
    int code = find(device);
    if (code)
        return code;
    if (is_instance(device) || number("mig", 0))
        return NOT_SUPPORTED;
    out->gpu = (unsigned)number("util", 0);
    out->memory = (unsigned)number("memutil", 0);
    return OK;
}

/* Type 1 is the utilisation of the GPU, value type 1 an unsigned int. */
int nvmlDeviceGetSamples(handle *device, int type, unsigned long long since, int *value_type, unsigned *count, period *out)
{
    unsigned have = 0;
    FILE *file;
    int code = find(device);
    if (code)
        return code;
    if (is_instance(device) || number("mig", 0) || type != 1)
        return NOT_SUPPORTED;
    if (!(file = script()))
        return INVALID;
    *value_type = 1;
    while (next(file, "busy", device->gpu)) {
        if (number("ts", 0) <= since)
            continue;
        if (out && have < *count) {
            memset(&out[have], 0, sizeof out[have]);
            out[have].ts = number("ts", 0);
            out[have].value.u = (unsigned)number("value", 0);
        }
        have++;
    }
    fclose(file);
    if (out && have > *count)
        return TOO_SMALL;
    *count = have;
    return have ? OK : NOT_FOUND;
}

static int running(handle *device, unsigned *count, process *out, const char *kind)
{
    unsigned room = *count, have = 0, instance = NOTHING;
    int code = find(device);
    FILE *file;
    if (code)
        return code;
    if (is_instance(device))
        instance = (unsigned)number("gi", 0);
    if (!(file = script()))
        return INVALID;
    while (next(file, kind, device->gpu)) {
        if (instance != NOTHING && number("gi", NOTHING) != instance)
            continue;
        if (out && have < room)
            out[have] = (process){ (unsigned)number("pid", 0), number("mem", 0), (unsigned)number("gi", NOTHING),
                                   (unsigned)number("ci", NOTHING) };
        have++;
    }
    fclose(file);
    *count = have;
    return have > room || (have && !out) ? TOO_SMALL : OK;
}
int nvmlDeviceGetComputeRunningProcesses_v3(handle *d, unsigned *n, process *out) { return running(d, n, out, "proc"); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(handle *d, unsigned *n, process *out) { return running(d, n, out, "gfx"); }

int nvmlDeviceGetProcessUtilization(handle *device, utilisation *out, unsigned *count, unsigned long long since)
{
    static const char *const kinds[] = { "proc", "sample" };
    unsigned room = *count, have = 0;
    struct timespec now;
    unsigned long long microseconds;
    int code = find(device);
    if (code)
        return code;
    if (is_instance(device) || number("mig", 0) || !number("usage", 1))
        return NOT_SUPPORTED;
    clock_gettime(CLOCK_REALTIME, &now);
    microseconds = (unsigned long long)now.tv_sec * 1000000 + (unsigned long long)now.tv_nsec / 1000;
    for (int kind = 0; kind < 2; kind++) {
        FILE *file = script();
        if (!file)
            return INVALID;
        while (next(file, kinds[kind], device->gpu)) {
            char value[32];
            unsigned long long ts = number("ts", microseconds);
            if (!has(kind ? "pid" : "sm", value, sizeof value) || (ts && ts <= since))
                continue;
            if (out && have < room)
                out[have] = (utilisation){ (unsigned)number("pid", 0), ts, (unsigned)number("sm", 0),
                                           (unsigned)number(kind ? "mem" : "memutil", 0), (unsigned)number("enc", 0),
                                           (unsigned)number("dec", 0) };
            have++;
        }
        fclose(file);
    }
    *count = have;
    if (!have)
        return NOT_FOUND;
    return !out || have > room ? TOO_SMALL : OK;
}

int nvmlDeviceGetMigMode(handle *device, unsigned *current, unsigned *pending)
{
    int code = find(device);
    if (!code)
        *current = *pending = (unsigned)number("mig", 0);
    return code;
}
int nvmlDeviceGetMaxMigDeviceCount(handle *device, unsigned *count)
{
    int code = find(device);
    *count = !code && number("mig", 0) ? 7 : 0;
    return code;
}
int nvmlDeviceGetMigDeviceHandleByIndex(handle *device, unsigned index, handle **out)
{
    handle *instance;
    if (index >= 7 || device->gpu >= MOST_GPUS)
        return INVALID;
    instance = &instances[device->gpu][index];
    strcpy(instance->kind, "mig");
    instance->gpu = device->gpu;
    instance->index = index;
    *out = instance;
    return find(instance);
}
int nvmlDeviceGetAttributes_v2(handle *device, attributes *out)
{
    int code = find(device);
    unsigned slices;
    if (code)
        return code;
    if (!is_instance(device))
        return NOT_SUPPORTED;
    slices = (unsigned)number("slices", 1);
    memset(out, 0, sizeof *out);
    out->sms = 16 * slices;
    out->gi_slices = out->ci_slices = slices;
    return OK;
}

int nvmlGpmQueryDeviceSupport(handle *device, gpm_support *out)
{
    int code = find(device);
    if (!code)
        out->supported = number("gpm", 0) != 0;
    return code;
}
int nvmlGpmSampleAlloc(sample **out) { *out = calloc(1, sizeof **out); return *out ? OK : 20; }
int nvmlGpmSampleFree(sample *taken) { free(taken); return OK; }
int nvmlGpmMigSampleGet(handle *device, unsigned instance, sample *out)
{
    int code = find(device);
    if (!code)
        *out = (sample){ device->gpu, instance, 1 };
    return code;
}
int nvmlGpmMetricsGet(metrics_get *request)
{
    sample *last = request->second;
    int code = ready();
    if (code)
        return code;
    if (request->version != 1 || !request->first->taken || !last->taken || request->first->gi != last->gi)
        return INVALID;
    for (unsigned i = 0; i < request->count; i++) {
        FILE *file = script();
        metric *wanted = &request->metrics[i];
        wanted->result = NOT_FOUND;
        while (file && next(file, "mig", last->gpu)) {
            if (wanted->id == 2 && number("gi", NOTHING) == last->gi) {
                wanted->value = (double)number("sm_util", 0);
                wanted->result = OK;
            }
        }
        if (file)
            fclose(file);
    }
    return OK;
}
