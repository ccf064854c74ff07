/* Which variants this processor can run, and which source the library was built from. */
int widthwise_can_run_avx2(void);
int widthwise_can_run_avx512(void);
const char *widthwise_source_hash(void);

int widthwise_can_run_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

int widthwise_can_run_avx512(void) {
    return __builtin_cpu_supports("avx512f") && widthwise_can_run_avx2();
}

const char *widthwise_source_hash(void) { return SOURCE_HASH; }
