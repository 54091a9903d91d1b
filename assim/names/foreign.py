"""Models outside JAX: codes with a step, and what there is of its tangent and adjoint."""

from assim.couple.bmi_model import BMIModel as BMIModel
from assim.couple.c_model import CModel as CModel
from assim.couple.process_model import ProcessModel as ProcessModel
from assim.couple.python_model import PythonModel as PythonModel
