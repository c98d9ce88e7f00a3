from tests.faults.tables import row  # noqa: F401 - a fixture
from tests.quick_servers import quick_servers  # noqa: F401 - a fixture
