! Decay of a field of nx x ny values that is carried along x, with tangent and adjoint by hand.
! The field's first index is the last dimension of its labels; the rate is a parameter.
module decay
    use iso_c_binding
    implicit none
    integer, parameter :: nx = 4, ny = 3
    real(c_double), parameter :: dt = 0.1d0

contains

    integer(c_int) function decay_step(x, theta, t, y, context) bind(c, name="decay_step")
        type(c_ptr), intent(in) :: x(*), theta(*), y(*)
        real(c_double), value :: t
        type(c_ptr), value :: context
        real(c_double), pointer :: n(:, :), after(:, :), rate
        call c_f_pointer(x(1), n, [nx, ny])
        call c_f_pointer(theta(1), rate)
        call c_f_pointer(y(1), after, [nx, ny])
        after = cshift(n, -1, 1) * (1 - dt * rate)
        decay_step = 0
    end function

    integer(c_int) function decay_tangent(x, theta, t, dx, dtheta, dy, context) bind(c, name="decay_tangent")
        type(c_ptr), intent(in) :: x(*), theta(*), dx(*), dtheta(*), dy(*)
        real(c_double), value :: t
        type(c_ptr), value :: context
        real(c_double), pointer :: n(:, :), dn(:, :), dafter(:, :), rate, drate
        call c_f_pointer(x(1), n, [nx, ny])
        call c_f_pointer(dx(1), dn, [nx, ny])
        call c_f_pointer(dy(1), dafter, [nx, ny])
        call c_f_pointer(theta(1), rate)
        call c_f_pointer(dtheta(1), drate)
        dafter = cshift(dn, -1, 1) * (1 - dt * rate) - cshift(n, -1, 1) * dt * drate
        decay_tangent = 0
    end function

    integer(c_int) function decay_adjoint(x, theta, t, by, bx, btheta, context) bind(c, name="decay_adjoint")
        type(c_ptr), intent(in) :: x(*), theta(*), by(*), bx(*), btheta(*)
        real(c_double), value :: t
        type(c_ptr), value :: context
        real(c_double), pointer :: n(:, :), bn(:, :), bafter(:, :), rate, brate
        call c_f_pointer(x(1), n, [nx, ny])
        call c_f_pointer(by(1), bafter, [nx, ny])
        call c_f_pointer(bx(1), bn, [nx, ny])
        call c_f_pointer(theta(1), rate)
        call c_f_pointer(btheta(1), brate)
        bn = cshift(bafter, 1, 1) * (1 - dt * rate)
        brate = -dt * sum(cshift(n, -1, 1) * bafter)
        decay_adjoint = 0
    end function
end module
