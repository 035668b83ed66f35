"""The registry of methods: what is checked of a method when it is known by name, beside what its class was."""

from __future__ import annotations

from typing import Any, TypeVar

from cl_forget.ground.registry import Registry, closest
from cl_forget.mitigations.definition import BadMethod
from cl_forget.mitigations.protocol import Mitigation

Method = TypeVar("Method", bound=type[Mitigation])


class Methods(Registry):
    """Names to methods; what a method says of others is checked when it is asked for."""

    def get(self, name: str) -> Any:
        """The class registered as `name`.

        Raises:
            UserError: no such method, or it cannot be imported.
            BadMethod: what is registered is no method, goes by another name, or conflicts with an unknown one.
        """
        cls = super().get(name)
        place = self.place(name)
        if not (isinstance(cls, type) and issubclass(cls, Mitigation)):
            raise BadMethod(f"mitigation '{name}' ({place}) is no subclass of cl_forget.method.Mitigation.")
        if getattr(cls, "name", None) != name:
            raise BadMethod(
                f"mitigation '{name}' ({place}) calls itself '{getattr(cls, 'name', '')}': register it by that name."
            )
        for other in cls.conflicts:
            if other not in self:
                raise BadMethod(
                    f"mitigation '{name}' conflicts with '{other}', which is no method."
                    f"{closest(other, self.names())} Known: {', '.join(self.names())}."
                )
        return cls

    def register(self, cls: Method) -> Method:
        """Make a method known by its name in this process and those it starts; usable as a decorator.

        Raises:
            BadMethod: the name is taken, or the class is not at the top of its module.
        """
        place = f"{cls.__module__}:{cls.__qualname__}"
        if "." in cls.__qualname__:
            raise BadMethod(
                f"class {cls.__name__}: define it at the top of a module, where workers can import it."
            )
        if cls.name in self and self.place(cls.name) != place:
            raise BadMethod(
                f"class {cls.__name__}: the name '{cls.name}' belongs to {self.place(cls.name)}; choose another."
            )
        self.add(cls.name, place)
        return cls
