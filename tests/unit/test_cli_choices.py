"""The command line repeats the choices of the rooms, so that showing its help imports none of them; they must agree."""

from typing import get_args

from nearfield import cluster, recommend, search
from nearfield.cli import options
from nearfield.documents import sources
from nearfield.serve import models


def test_the_choices_of_the_command_line_are_those_of_the_rooms():
    assert options.MODES == search.MODES
    assert options.FUSIONS == search.FUSIONS
    assert options.STRATEGIES == recommend.STRATEGIES
    assert options.METHODS == cluster.METHODS
    assert options.FORMATS == sources.FORMATS


def test_the_choices_of_the_service_are_those_of_the_rooms():
    fields = models.ClusterRequest.model_fields
    assert get_args(fields["method"].annotation) == cluster.METHODS
