! assim inside a Fortran program that keeps its own time loop: the functions of assim.h, whose words
! hold here too. All return 0 for success and nothing else does.
!
! Dimensions are in the reverse order of the case's, as in NetCDF: x(nx, ny) is the field of (y, x).

module assim
  use, intrinsic :: iso_c_binding
  implicit none
  private
  public :: assim_parallel, assim_initialise, assim_register, assim_register_model, assim_start
  public :: assim_advance, assim_time, assim_spread, assim_last_error, assim_finalise

  integer(c_int), parameter, public :: assim_success = 0, assim_internal = 1, assim_case = 2
  integer(c_int), parameter, public :: assim_data = 3, assim_not_converged = 4
  integer(c_int), parameter, public :: assim_non_finite = 5, assim_incomplete = 7
  integer(c_int), parameter, public :: assim_interrupted = 130, assim_misuse = 20
  integer(c_int), parameter, public :: assim_no_python = 21, assim_stopped = 22
  integer(c_int), parameter, public :: assim_nothing = 0, assim_analysed = 1, assim_restart = 2
  integer(c_int), parameter, public :: assim_stop = 3
  integer(c_int), parameter, public :: assim_at_start = 1, assim_resume = 2, assim_print = 4

  interface
    integer(c_int) function assim_start(t, action) bind(c)
      import :: c_int, c_double
      real(c_double), value :: t
      integer(c_int), intent(out) :: action
    end function

    integer(c_int) function assim_advance(t, action) bind(c)
      import :: c_int, c_double
      real(c_double), value :: t
      integer(c_int), intent(out) :: action
    end function

    integer(c_int) function assim_time(t) bind(c)
      import :: c_int, c_double
      real(c_double), intent(out) :: t
    end function

    integer(c_int) function assim_finalise() bind(c)
      import :: c_int
    end function

    integer(c_int) function c_initialise(case_file, out, flags) bind(c, name="assim_initialise")
      import :: c_int, c_ptr
      type(c_ptr), value :: case_file, out
      integer(c_int), value :: flags
    end function

    integer(c_int) function c_register(name, array) bind(c, name="assim_register_descriptor")
      import :: c_int, c_ptr
      type(c_ptr), value :: name
      type(*), dimension(..), intent(in) :: array
    end function

    integer(c_int) function c_register_part(name, array, first) &
        bind(c, name="assim_register_part_descriptor")
      import :: c_int, c_ptr, c_int64_t
      type(c_ptr), value :: name
      type(*), dimension(..), intent(in) :: array
      integer(c_int64_t), intent(in) :: first(*)
    end function

    integer(c_int) function c_parallel(number, processes, broadcast, context) &
        bind(c, name="assim_parallel")
      import :: c_int, c_ptr, c_funptr
      integer(c_int), value :: number, processes
      type(c_funptr), value :: broadcast
      type(c_ptr), value :: context
    end function

    integer(c_int) function c_spread(name, array) bind(c, name="assim_spread_descriptor")
      import :: c_int, c_ptr
      type(c_ptr), value :: name
      type(*), dimension(..), intent(in) :: array
    end function

    integer(c_int) function c_register_model(step, tangent, adjoint, context, thread_safe) &
        bind(c, name="assim_register_model")
      import :: c_int, c_ptr, c_funptr
      type(c_funptr), value :: step, tangent, adjoint
      type(c_ptr), value :: context
      integer(c_int), value :: thread_safe
    end function

    type(c_ptr) function c_last_error() bind(c, name="assim_last_error")
      import :: c_ptr
    end function

    integer(c_size_t) function c_length(text) bind(c, name="strlen")
      import :: c_size_t, c_ptr
      type(c_ptr), value :: text
    end function
  end interface

contains

  ! In a parallel program, first: the rank and size of its communicator, and c_funloc of a function
  ! with bind(c) that broadcasts, as assim.h has it.
  integer(c_int) function assim_parallel(number, processes, broadcast, context) result(status)
    integer, intent(in) :: number, processes
    type(c_funptr), intent(in) :: broadcast
    type(c_ptr), intent(in), optional :: context
    type(c_ptr) :: c
    c = c_null_ptr
    if (present(context)) c = context
    status = c_parallel(int(number, c_int), int(processes, c_int), broadcast, c)
  end function

  ! Reads the case; results go to the directory `out`, or to the case's own.
  integer(c_int) function assim_initialise(case_file, out, flags) result(status)
    character(len=*), intent(in) :: case_file
    character(len=*), intent(in), optional :: out
    integer(c_int), intent(in), optional :: flags
    character(kind=c_char, len=:), allocatable, target :: file, directory
    type(c_ptr) :: where
    integer(c_int) :: chosen
    file = trim(case_file) // c_null_char
    where = c_null_ptr
    if (present(out)) then
      directory = trim(out) // c_null_char
      where = c_loc(directory)
    end if
    chosen = 0
    if (present(flags)) chosen = flags
    status = c_initialise(c_loc(file), where, chosen)
  end function

  ! An array of real(c_double) or real(c_float), of any strides, which lives as long as the engine.
  ! With `first` it is this process's part of a field, which begins there in the whole, from 1.
  integer(c_int) function assim_register(name, array, first) result(status)
    character(len=*), intent(in) :: name
    type(*), dimension(..), intent(in), target :: array
    integer, intent(in), optional :: first(:)
    character(kind=c_char, len=:), allocatable, target :: text
    integer(c_int64_t) :: begins(15)
    text = trim(name) // c_null_char
    if (present(first)) then
      begins = 0 ! which is refused, as counting begins with 1
      if (size(first) == rank(array)) begins(:size(first)) = first
      status = c_register_part(c_loc(text), array, begins)
    else
      status = c_register(c_loc(text), array)
    end if
  end function

  integer(c_int) function assim_spread(name, array) result(status)
    character(len=*), intent(in) :: name
    type(*), dimension(..), intent(in), target :: array
    character(kind=c_char, len=:), allocatable, target :: text
    text = trim(name) // c_null_char
    status = c_spread(c_loc(text), array)
  end function

  ! c_funloc of functions with bind(c), as assim.h has them.
  integer(c_int) function assim_register_model(step, tangent, adjoint, context, thread_safe) &
      result(status)
    type(c_funptr), intent(in) :: step
    type(c_funptr), intent(in), optional :: tangent, adjoint
    type(c_ptr), intent(in), optional :: context
    logical, intent(in), optional :: thread_safe
    type(c_funptr) :: t, a
    type(c_ptr) :: c
    integer(c_int) :: safe
    t = c_null_funptr
    a = c_null_funptr
    c = c_null_ptr
    safe = 0
    if (present(tangent)) t = tangent
    if (present(adjoint)) a = adjoint
    if (present(context)) c = context
    if (present(thread_safe)) safe = merge(1_c_int, 0_c_int, thread_safe)
    status = c_register_model(step, t, a, c, safe)
  end function

  ! The words of the last error.
  function assim_last_error() result(text)
    character(len=:), allocatable :: text
    character(kind=c_char), pointer :: letters(:)
    type(c_ptr) :: words
    integer :: k
    words = c_last_error()
    call c_f_pointer(words, letters, [c_length(words)])
    allocate (character(len=size(letters)) :: text)
    do k = 1, size(letters)
      text(k:k) = letters(k)
    end do
  end function

end module assim
