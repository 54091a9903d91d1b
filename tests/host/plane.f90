! A plane of eight by three that two processes share, cut along its first dimension, and that stays as
! it is. plane CASE OUT; with one more word `first` has too few numbers.
module still
  use, intrinsic :: iso_c_binding
  use mpi
  implicit none
  integer, parameter :: nx = 8, ny = 3
contains

  subroutine copy(from, to)
    type(c_ptr), intent(in) :: from(*), to(*)
    real(c_double), pointer :: a(:, :), b(:, :)
    call c_f_pointer(from(1), a, [nx, ny])
    call c_f_pointer(to(1), b, [nx, ny])
    b = a
  end subroutine

  integer(c_int) function step(x, theta, t, y, context) bind(c)
    type(c_ptr), intent(in) :: x(*), theta(*), y(*)
    real(c_double), value :: t
    type(c_ptr), value :: context
    call copy(x, y)
    step = 0
  end function

  integer(c_int) function tangent(x, theta, t, dx, dtheta, dy, context) bind(c)
    type(c_ptr), intent(in) :: x(*), theta(*), dx(*), dtheta(*), dy(*)
    real(c_double), value :: t
    type(c_ptr), value :: context
    call copy(dx, dy)
    tangent = 0
  end function

  integer(c_int) function adjoint(x, theta, t, by, bx, btheta, context) bind(c)
    type(c_ptr), intent(in) :: x(*), theta(*), by(*), bx(*), btheta(*)
    real(c_double), value :: t
    type(c_ptr), value :: context
    call copy(by, bx)
    adjoint = 0
  end function

  integer(c_int) function broadcast(buffer, bytes, root, context) bind(c)
    type(c_ptr), value :: buffer, context
    integer(c_int64_t), value :: bytes
    integer(c_int), value :: root
    integer(c_signed_char), pointer :: values(:)
    integer :: ierr
    call c_f_pointer(buffer, values, [bytes])
    call MPI_Bcast(values, int(bytes), MPI_BYTE, root, MPI_COMM_WORLD, ierr)
    broadcast = int(ierr, c_int)
  end function

end module still

program plane
  use assim
  use still
  implicit none
  integer :: rank, size, threads, ierr, action, i, j
  real(c_double), target :: h(0:nx / 2 + 1, ny)  ! with a halo along the first dimension
  character(len=200) :: case_file, out
  call MPI_Init_thread(MPI_THREAD_SERIALIZED, threads, ierr)
  call MPI_Comm_rank(MPI_COMM_WORLD, rank, ierr)
  call MPI_Comm_size(MPI_COMM_WORLD, size, ierr)
  call get_command_argument(1, case_file)
  call get_command_argument(2, out)
  h = -1
  forall (i = 1:nx / 2, j = 1:ny) h(i, j) = 10 * j + i + rank * nx / 2
  call check(assim_parallel(rank, size, c_funloc(broadcast)))
  call check(assim_initialise(trim(case_file), trim(out)))
  if (command_argument_count() > 2) then
    call check(assim_register("h", h(1:nx / 2, :), first=[1]))
  else
    call check(assim_register("h", h(1:nx / 2, :), first=[1 + rank * nx / 2, 1]))
  end if
  call check(assim_register_model(c_funloc(step), c_funloc(tangent), c_funloc(adjoint)))
  call check(assim_start(0d0, action))
  call check(assim_advance(1d0, action))
  if (action /= assim_stop) error stop 9
  call check(assim_finalise())
  do i = 0, size - 1
    if (i == rank) print '(a, i0, *(f8.3))', "process ", rank, h
    flush (6)
    call MPI_Barrier(MPI_COMM_WORLD, ierr)
  end do
  call MPI_Finalize(ierr)
contains
  subroutine check(status)
    integer(c_int), intent(in) :: status
    if (status == assim_success) return
    write (0, '(a)') assim_last_error()
    call MPI_Abort(MPI_COMM_WORLD, int(status), ierr)
  end subroutine
end program
