/* Exponential, logarithm and what activations are made of, as polynomials with explicit FMA: the
   same bits on every processor, which no mathematical library promises. */
#ifndef WIDTHWISE_FUNCTIONS_H
#define WIDTHWISE_FUNCTIONS_H

#include "lanes.h"

#ifdef REAL_IS_DOUBLE
#define EXPONENT_BIAS 1023
#define MANTISSA_BITS 52
#define ROUND_TO_WHOLE 0x1.8p52 /* added and subtracted, it leaves the nearest whole number */
#define EXP_DEGREE 13
#define EXP_SMALLEST (-708.0)
#define EXP_LARGEST 709.0
#define LOG_TERMS 11
#define ERFC_TERMS 27
#define LN2_HIGH 0x1.62e42fee00000p-1 /* few enough bits that a multiple of it is exact */
#define LN2_LOW 0x1.a39ef35793c76p-33
#define ROOT_HALF 0x3fe6a09e667f3bcd /* the bits of 1/sqrt 2 */
#define SCALAR_FMA __builtin_fma
#else
#define EXPONENT_BIAS 127
#define MANTISSA_BITS 23
#define ROUND_TO_WHOLE 0x1.8p23f
#define EXP_DEGREE 7
#define EXP_SMALLEST (-87.0f)
#define EXP_LARGEST 88.0f
#define LOG_TERMS 5
#define ERFC_TERMS 13
#define LN2_HIGH 0x1.63p-1f
#define LN2_LOW (-0x1.bd0106p-13f)
#define ROOT_HALF 0x3f3504f3
#define SCALAR_FMA __builtin_fmaf
#endif

/* e^x = scale * (1 + rest), |rest| < 0.42; rest = e^r - 1 is Taylor's series on |r| <= ln(2)/2,
   whose last term is below the rounding of a real. x beyond what a real holds is cut off. */
INLINE void exponential(vec x, vec *scale, vec *rest) {
    static const double inverse_factorial[] = {1.0, 1.0, 1.0 / 2, 1.0 / 6, 1.0 / 24, 1.0 / 120,
        1.0 / 720, 1.0 / 5040, 1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800,
        1.0 / 479001600, 1.0 / 6227020800};
    /* NaN stays NaN: greater and smaller give their second operand then. */
    x = smaller(broadcast(EXP_LARGEST), greater(broadcast(EXP_SMALLEST), x));
    vec shifted = fma_(x, broadcast((real)1.44269504088896340736), broadcast(ROUND_TO_WHOLE));
    wholes power = (wholes)shifted - (wholes)broadcast(ROUND_TO_WHOLE);
    vec n = shifted - broadcast(ROUND_TO_WHOLE);
    vec r = fma_(n, broadcast(-LN2_HIGH), x);
    r = fma_(n, broadcast(-LN2_LOW), r);
    vec p = broadcast((real)inverse_factorial[EXP_DEGREE]);
    UNROLL for (int k = EXP_DEGREE - 1; k >= 2; k--)
        p = fma_(p, r, broadcast((real)inverse_factorial[k]));
    *rest = fma_(p, r * r, r);
    *scale = (vec)((power + EXPONENT_BIAS) << MANTISSA_BITS);
}

INLINE vec exp_(vec x) {
    vec scale, rest;
    exponential(x, &scale, &rest);
    return fma_(scale, rest, scale);
}

/* ln(x) of a positive finite number that is not denormal; others as they are, +infinity and NaN
   among them. With x = 2^n m, m in [1/sqrt 2, sqrt 2): 2 artanh((m - 1)/(m + 1)) + n ln 2. */
INLINE real log_(real x) {
    if (!(x > 0 && x < (real)__builtin_inf())) return x;
    union {
        real value;
        whole bits;
    } m = {x};
    whole n = (m.bits - ROOT_HALF) >> MANTISSA_BITS;
    m.bits -= n * ((whole)1 << MANTISSA_BITS);
    real s = (m.value - 1) / (m.value + 1), square = s * s, p = 0;
    UNROLL for (int k = LOG_TERMS; k >= 1; k--) p = SCALAR_FMA(p, square, (real)1 / (2 * k + 1));
    p = 2 * SCALAR_FMA(p * square, s, s);
    return SCALAR_FMA((real)n, LN2_HIGH, SCALAR_FMA((real)n, LN2_LOW, p));
}

/* By e^2x - 1, which keeps small x accurate. */
INLINE vec tanh_(vec x) {
    vec scale, rest;
    x = smaller(broadcast(20), greater(broadcast(-20), x)); /* it is 1 beyond, in any real */
    exponential(x + x, &scale, &rest);
    vec less_one = fma_(scale, rest, scale - broadcast(1));
    return less_one / (less_one + broadcast(2));
}

INLINE vec sigmoid_(vec x) { return broadcast(1) / (broadcast(1) + exp_(-x)); }

/* The normal distribution function. Phi(-|x|) = erfc(z)/2 with z = |x|/sqrt 2, and
   erfc(z) = t exp(P(t) - z^2) with t = 2/(2 + z), where P is a Chebyshev series in 2t - 1 that was
   interpolated with 400 bits. The form is that of Numerical Recipes (3rd edition, section 6.2.2). */
INLINE vec normal_(vec x) {
    static const double coefficient[] = {
        -0.651326859890854717, 0.64196979235649026, 0.0194764732041858363,
        -0.00956151478680863164, -0.000946595344482036866, 0.000366839497852761452,
        0.0000425233248069077716, -0.0000202785781125342432, -1.62429000464702551e-6,
        1.3036558355805232e-6, 1.56264417220661432e-8, -8.52380959149265425e-8,
        6.5290544390988515e-9, 5.05934349555146894e-9, -9.91364156493033087e-10,
        -2.27365122293183586e-10, 9.6467911020155268e-11, 2.39403808303911474e-12,
        -6.8860275264975534e-12, 8.94487927309072572e-13, 3.13092139934295808e-13,
        -1.12708223613672524e-13, 3.81090525518923206e-16, 7.10609761360923699e-15,
        -1.5230282014571043e-15, -9.457494571291234e-17, 1.21023718922427899e-16};
    const vec magnitude = (vec)((wholes)x & ~(wholes)broadcast(-(real)0));
    const vec z = magnitude * broadcast((real)0.70710678118654752440);
    const vec t = broadcast(2) / (broadcast(2) + z), u = fma_(broadcast(4), t, broadcast(-2));
    vec last = zero(), before = zero();
    UNROLL_MORE for (int k = ERFC_TERMS - 1; k >= 1; k--) {
        vec next = fma_(u, last, broadcast((real)coefficient[k]) - before);
        before = last;
        last = next;
    }
    const vec series = fma_(u * broadcast((real)0.5), last, broadcast((real)coefficient[0]) - before);
    const vec tail = broadcast((real)0.5) * t * exp_(fma_(-z, z, series));
    return choose(x > zero(), broadcast(1) - tail, tail);
}

INLINE vec normal_density(vec x) {
    return broadcast((real)0.39894228040143267794) * exp_(broadcast((real)-0.5) * x * x);
}

#endif
