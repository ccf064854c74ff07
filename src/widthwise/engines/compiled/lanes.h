/* Vectors of the machine's width, and panels of sixteen lanes made of them.

   REAL_IS_DOUBLE chooses the type, the compiler's flags choose the instruction set: AVX512F, or
   AVX2 with FMA; VARIANT, at the end of names, says which. What sums over lanes is written in
   panels, so that both sets do the same operations on the same lanes in the same order, and give
   the same bits. */
#ifndef WIDTHWISE_LANES_H
#define WIDTHWISE_LANES_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define INLINE static inline __attribute__((always_inline))
#define NOINLINE static __attribute__((noinline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define UNROLL_MORE UNROLL
#else
#define UNROLL _Pragma("GCC unroll 16")
#define UNROLL_MORE _Pragma("GCC unroll 32")
#endif

#define GLUE_(a, b, c) a##b##c
#define GLUE(a, b, c) GLUE_(a, b, c)

#ifndef VARIANT
#error "compile with -DVARIANT=<type>_<instruction set>"
#endif
#define NAMED(name) GLUE(name, _, VARIANT)

#ifdef REAL_IS_DOUBLE
typedef double real;
typedef int64_t whole; /* as wide as a real */
#define TYPE_SUFFIX _pd
#define REAL_BYTES 8
#else
typedef float real;
typedef int32_t whole;
#define TYPE_SUFFIX _ps
#define REAL_BYTES 4
#endif

#ifdef __AVX512F__
#define VECTOR_BYTES 64
#define INTRINSIC(name) GLUE(_mm512_, name, TYPE_SUFFIX)
#define REGISTER_PS __m512
#define REGISTER_PD __m512d
#else
#define VECTOR_BYTES 32
#define INTRINSIC(name) GLUE(_mm256_, name, TYPE_SUFFIX)
#define REGISTER_PS __m256
#define REGISTER_PD __m256d
#endif

enum {
    PANEL = 16,                          /* lanes */
    WIDTH = VECTOR_BYTES / REAL_BYTES,   /* lanes of one vector */
    PARTS = PANEL / WIDTH                /* vectors of one panel */
};

typedef real vec __attribute__((vector_size(VECTOR_BYTES)));
typedef whole wholes __attribute__((vector_size(VECTOR_BYTES)));
typedef uint8_t bytes __attribute__((vector_size(VECTOR_BYTES / REAL_BYTES))); /* a byte a lane */
typedef real anywhere __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

INLINE vec load(const real *from) { return *(const anywhere *)from; }
INLINE void store(real *to, vec x) { *(anywhere *)to = x; }
INLINE vec broadcast(real x) { return INTRINSIC(set1)(x); }
INLINE vec zero(void) { return broadcast(0); }

/* The same pointer, of which the compiler knows nothing: it then adds small constants to it where
   they are used, instead of keeping a register for each sum. */
INLINE const real *one_address(const real *p) {
    __asm__("" : "+r"(p));
    return p;
}

/* a * b + c, rounded once. */
INLINE vec fma_(vec a, vec b, vec c) { return INTRINSIC(fmadd)(a, b, c); }

/* If one is NaN: the second. */
INLINE vec greater(vec a, vec b) { return INTRINSIC(max)(a, b); }
INLINE vec smaller(vec a, vec b) { return INTRINSIC(min)(a, b); }

INLINE vec choose(wholes mask, vec yes, vec no) {
    return (vec)((mask & (wholes)yes) | (~mask & (wholes)no));
}

/* ---- Shuffles. SHUFFLE(a, b, F, s): lane i is lane F(i, s) of a followed by b. */
#if VECTOR_BYTES / REAL_BYTES == 16
#define EACH_LANE(F, s)                                                                        \
    F(0, s), F(1, s), F(2, s), F(3, s), F(4, s), F(5, s), F(6, s), F(7, s), F(8, s), F(9, s),  \
        F(10, s), F(11, s), F(12, s), F(13, s), F(14, s), F(15, s)
#elif VECTOR_BYTES / REAL_BYTES == 8
#define EACH_LANE(F, s) F(0, s), F(1, s), F(2, s), F(3, s), F(4, s), F(5, s), F(6, s), F(7, s)
#else
#define EACH_LANE(F, s) F(0, s), F(1, s), F(2, s), F(3, s)
#endif
#if defined(__clang__)
#define SHUFFLE(a, b, F, s) __builtin_shufflevector(a, b, EACH_LANE(F, s))
#else
#define SHUFFLE(a, b, F, s) __builtin_shuffle(a, b, (wholes){EACH_LANE(F, s)})
#endif

/* Of each 2 x 2 block, with blocks of s lanes: the rows of its transpose. */
#define UPPER_(i, s) ((i) & (s) ? WIDTH + (i) - (s) : (i))
#define LOWER_(i, s) ((i) & (s) ? WIDTH + (i) : (i) + (s))
#define UPPER(a, b, s) SHUFFLE(a, b, UPPER_, s)
#define LOWER(a, b, s) SHUFFLE(a, b, LOWER_, s)
#define OTHER_(i, s) ((i) ^ (s))

#if VECTOR_BYTES / REAL_BYTES == 16
#define EACH_LEVEL(LEVEL) LEVEL(8) LEVEL(4) LEVEL(2) LEVEL(1)
#elif VECTOR_BYTES / REAL_BYTES == 8
#define EACH_LEVEL(LEVEL) LEVEL(4) LEVEL(2) LEVEL(1)
#else
#define EACH_LEVEL(LEVEL) LEVEL(2) LEVEL(1)
#endif

#define NUMBER_(i, s) (i)
INLINE wholes lane_numbers(void) { return (wholes){EACH_LANE(NUMBER_, 0)}; }

/* Lanes that hold 0 to 255, each kept in a byte. */
INLINE void store_bytes(uint8_t *to, wholes x) {
#if defined(__AVX512F__) || defined(__clang__)
    const bytes narrow = __builtin_convertvector(x, bytes);
#else /* of which GCC would take every lane by itself */
#define FIRST_BYTE_(i, s) ((i) * (s))
    typedef uint8_t all_bytes __attribute__((vector_size(VECTOR_BYTES)));
    const all_bytes first = {EACH_LANE(FIRST_BYTE_, REAL_BYTES)};
    const all_bytes narrow = __builtin_shuffle((all_bytes)x, first);
#endif
    __builtin_memcpy(to, &narrow, WIDTH);
}

INLINE wholes load_bytes(const uint8_t *from) {
    bytes x;
    __builtin_memcpy(&x, from, WIDTH);
    return __builtin_convertvector(x, wholes);
}

/* Transposes WIDTH vectors in place. */
INLINE void transpose_vectors(vec *a) {
#define LEVEL(s)                                                                               \
    UNROLL for (int i = 0; i < WIDTH; i++) if (!(i & (s))) {                                   \
        vec upper = UPPER(a[i], a[i + (s)], s), lower = LOWER(a[i], a[i + (s)], s);            \
        a[i] = upper;                                                                          \
        a[i + (s)] = lower;                                                                    \
    }
    EACH_LEVEL(LEVEL)
#undef LEVEL
}

/* Sums over sixteen lanes always run down one tree: lane i plus lane i + 8, then + 4, + 2, + 1.
   The part of the tree between the vectors of a panel: */
INLINE vec sum_parts(const vec *part) {
#if VECTOR_BYTES / REAL_BYTES == 16
    return part[0];
#elif VECTOR_BYTES / REAL_BYTES == 8
    return part[0] + part[1];
#else
    return (part[0] + part[2]) + (part[1] + part[3]);
#endif
}

/* The part within vectors, for WIDTH of them at once; lane i is the sum of a[i]. Overwrites a. */
INLINE vec sum_each(vec *a) {
#define LEVEL(s)                                                                               \
    UNROLL for (int i = 0; i < (s); i++)                                                       \
        a[i] = UPPER(a[i], a[i + (s)], s) + LOWER(a[i], a[i + (s)], s);
    EACH_LEVEL(LEVEL)
#undef LEVEL
    return a[0];
}

/* The sum of one panel. */
INLINE real sum_lanes(const vec *part) {
    vec x = sum_parts(part);
#define LEVEL(s) x += SHUFFLE(x, x, OTHER_, s);
    EACH_LEVEL(LEVEL)
#undef LEVEL
    return x[0];
}

/* The largest lane; NaN is for the caller to notice. */
INLINE real largest_lane(vec x) {
#define LEVEL(s) x = greater(x, SHUFFLE(x, x, OTHER_, s));
    EACH_LEVEL(LEVEL)
#undef LEVEL
    return x[0];
}

#endif
