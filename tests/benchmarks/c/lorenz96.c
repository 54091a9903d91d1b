/* Lorenz-96 by RK4, as models/lorenz96.py, and its adjoint by hand; n values a state. */

#include <stdlib.h>
#include <string.h>

static void tendency(int n, const double *x, double forcing, double *dx) {
    dx[0] = (x[1] - x[n - 2]) * x[n - 1] - x[0] + forcing;
    dx[1] = (x[2] - x[n - 1]) * x[0] - x[1] + forcing;
    for (int i = 2; i < n - 1; i++) dx[i] = (x[i + 1] - x[i - 2]) * x[i - 1] - x[i] + forcing;
    dx[n - 1] = (x[0] - x[n - 3]) * x[n - 2] - x[n - 1] + forcing;
}

/* b = J(x)^T a: b_i = a_{i-1} x_{i-2} - a_{i+2} x_{i+1} + a_{i+1} (x_{i+2} - x_{i-1}) - a_i */
static void adjoint(int n, const double *x, const double *a, double *b) {
    for (int i = 2; i < n - 2; i++)
        b[i] = a[i - 1] * x[i - 2] - a[i + 2] * x[i + 1] + a[i + 1] * (x[i + 2] - x[i - 1]) - a[i];
    for (int e = 0; e < 4; e++) {
        int i = (n - 2 + e) % n, p = (i + 1) % n, pp = (i + 2) % n, l = (i + n - 1) % n, ll = (i + n - 2) % n;
        b[i] = a[l] * x[ll] - a[pp] * x[p] + a[p] * (x[pp] - x[l]) - a[i];
    }
}

static void stages(int n, const double *x, double f, double dt, double **s, double **k) {
    tendency(n, x, f, k[0]);
    for (int i = 0; i < n; i++) s[0][i] = x[i] + dt / 2 * k[0][i];
    tendency(n, s[0], f, k[1]);
    for (int i = 0; i < n; i++) s[1][i] = x[i] + dt / 2 * k[1][i];
    tendency(n, s[1], f, k[2]);
    for (int i = 0; i < n; i++) s[2][i] = x[i] + dt * k[2][i];
}

static void back(int n, const double *x, double f, double dt, double *b, double **s, double **k) {
    double *given = k[0], *y4 = k[1], *y3 = k[2], *y = k[3];
    stages(n, x, f, dt, s, k);
    for (int i = 0; i < n; i++) given[i] = dt / 6 * b[i];
    adjoint(n, s[2], given, y4);
    for (int i = 0; i < n; i++) given[i] = dt / 3 * b[i] + dt * y4[i];
    adjoint(n, s[1], given, y3);
    for (int i = 0; i < n; i++) given[i] = dt / 3 * b[i] + dt / 2 * y3[i];
    adjoint(n, s[0], given, y);
    for (int i = 0; i < n; i++) {
        given[i] = dt / 6 * b[i] + dt / 2 * y[i];
        b[i] += y4[i] + y3[i] + y[i];
    }
    adjoint(n, x, given, y);
    for (int i = 0; i < n; i++) b[i] += y[i];
}

/* J = 1/2 |x_0 - background|^2 / b2 + 1/2 sum over t >= 1 of |x_t - y_t|^2, and its gradient. */
double twin(int n, int steps, double dt, double forcing, double b2, const double *background,
            const double *observed, const double *start, double *gradient) {
    double *memory = malloc((size_t)(steps + 8) * n * sizeof(double));
    double *path = memory, *s[3], *k[4], cost = 0;
    for (int i = 0; i < 3; i++) s[i] = memory + (size_t)(steps + 1 + i) * n;
    for (int i = 0; i < 4; i++) k[i] = memory + (size_t)(steps + 4 + i) * n;
    memcpy(path, start, n * sizeof(double));
    for (int t = 0; t < steps; t++) {
        double *x = path + (size_t)t * n, *y = x + n;
        stages(n, x, forcing, dt, s, k);
        tendency(n, s[2], forcing, k[3]);
        for (int i = 0; i < n; i++)
            y[i] = x[i] + dt / 6 * (k[0][i] + 2 * (k[1][i] + k[2][i]) + k[3][i]);
    }
    memset(gradient, 0, n * sizeof(double));
    for (int t = steps; t > 0; t--) {
        const double *x = path + (size_t)t * n, *y = observed + (size_t)(t - 1) * n;
        for (int i = 0; i < n; i++) {
            double d = x[i] - y[i];
            cost += 0.5 * d * d;
            gradient[i] += d;
        }
        back(n, path + (size_t)(t - 1) * n, forcing, dt, gradient, s, k);
    }
    for (int i = 0; i < n; i++) {
        double d = start[i] - background[i];
        cost += 0.5 * d * d / b2;
        gradient[i] += d / b2;
    }
    free(memory);
    return cost;
}

/* x, replaced by the state `steps` later. */
void forecast(int n, int steps, double dt, double forcing, double *x) {
    double *memory = malloc((size_t)7 * n * sizeof(double)), *s[3], *k[4];
    for (int i = 0; i < 3; i++) s[i] = memory + (size_t)i * n;
    for (int i = 0; i < 4; i++) k[i] = memory + (size_t)(3 + i) * n;
    for (int t = 0; t < steps; t++) {
        stages(n, x, forcing, dt, s, k);
        tendency(n, s[2], forcing, k[3]);
        for (int i = 0; i < n; i++) x[i] += dt / 6 * (k[0][i] + 2 * (k[1][i] + k[2][i]) + k[3][i]);
    }
    free(memory);
}
