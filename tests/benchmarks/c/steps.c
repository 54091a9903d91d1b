/* Lorenz-96 of tests/couple/c, called out of place with stored states: what a scan does, in C. */

#include "../../couple/c/lorenz96.c"

/* States at every step, shape (steps + 1, n), of which the first is given. */
void trajectory(const Model *m, int steps, double forcing, double *path) {
    const double *theta[] = {&forcing};
    for (int k = 0; k < steps; k++) {
        const double *x[] = {path + (size_t)k * m->n};
        double *y[] = {path + (size_t)(k + 1) * m->n};
        lorenz96_step(x, theta, 0, y, m);
    }
}

/* The same where every `every`-th state is stored alone, and the others in two states' space. */
void sparse_trajectory(const Model *m, int slots, int every, double forcing, double *path, double *space) {
    const double *theta[] = {&forcing};
    for (int slot = 0; slot < slots; slot++) {
        const double *x[] = {path + (size_t)slot * m->n};
        for (int k = 0; k < every; k++) {
            double *last = path + (size_t)(slot + 1) * m->n;
            double *y[] = {k == every - 1 ? last : space + (size_t)(k % 2) * m->n};
            lorenz96_step(x, theta, 0, y, m);
            x[0] = y[0];
        }
    }
}

/* Gradient in the first state of half the squares of all others; b and other are work space. */
void gradient(const Model *m, int steps, double forcing, double *path, double *b, double *other) {
    double of_forcing, *btheta[] = {&of_forcing};
    const double *theta[] = {&forcing};
    trajectory(m, steps, forcing, path);
    memset(b, 0, m->n * sizeof(double));
    for (int k = steps; k > 0; k--) {
        const double *after = path + (size_t)k * m->n, *x[] = {path + (size_t)(k - 1) * m->n};
        for (int i = 0; i < m->n; i++) b[i] += after[i];
        const double *by[] = {b};
        double *bx[] = {other};
        lorenz96_adjoint(x, theta, 0, by, bx, btheta, m);
        other = b;
        b = bx[0];
    }
    if (steps % 2) memcpy(other, b, m->n * sizeof(double)); /* the caller's first array has it */
}
