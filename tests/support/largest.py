"""About the largest objects that the schema takes, of texts that no two objects share."""

from __future__ import annotations

from typing import Any

from support.bodies import binding_body

__all__ = ["largest_binding"]


def largest_binding(number: int, namespace: str = "evil", *, selects: bool = False) -> dict[str, Any]:
    """Return a RoleBinding as the API server has it, with the status that the operator writes.

    Args:
        number: tells it from others; up to 4 digits.
        namespace: of the binding.
        selects: whether it has a selector in place of names.
    """
    names = [f"{number:04}-{n:02}-" + "n" * 73 for n in range(50)]
    conditions = [
        {"operator": "StringEquals", "key": f"aws:PrincipalTag/{k}", "values": [_text(number, k, v) for v in range(6)]}
        for k in range(10)
    ]
    federated = [
        {
            "issuer": f"https://issuer-{k}.example.com/{number}",
            "subjects": [f"{number:04}-{s:02}-" + "s" * 65 for s in range(20)],
            "conditions": [
                {
                    "operator": "StringEquals",
                    "key": f"issuer-{k}.example.com/{number}:claim-{c}",
                    "values": [_text(number, k, c)],
                }
                for c in range(4)
            ],
        }
        for k in range(5)
    ]
    selector = {
        "matchExpressions": [
            {"key": f"l{k}", "operator": "NotIn", "values": [f"{number:04}-{v:02}-vvvvvvvv" for v in range(25)]}
            for k in range(10)
        ]
    }
    subjects = [f"system:serviceaccount:{namespace}:{name}" for name in names]
    message = f"no RoleGrant covers it {number} " + "m" * 900
    status = {
        "observedGeneration": 1,
        "conditions": [
            {
                "type": kind,
                "status": "False",
                "reason": "NotGranted",
                "message": message + kind,
                "observedGeneration": 1,
            }
            for kind in ("Ready", "Authorized", "TrustApplied")
        ],
        "subjects": [] if selects else subjects,
        "adopted": [{"statement": f"{number:04}" + "a" * 4092, "times": 1}],
    }
    return binding_body(
        f"b{number}",
        namespace,
        status=status,
        metadata={
            "annotations": {"example.com/note": "x" * 200_000},
            "managedFields": [{"manager": "m" * 100, "fieldsV1": {f"f:{n}": {} for n in range(1000)}}],
        },
        roleArn=f"arn:aws:iam::444455556666:role/{'p' * 500}/{number}-{'r' * 50}",
        conditions=conditions,
        federatedSubjects=federated,
        session={"name": "s" * 250},
        profile="p" * 64,
        **({"serviceAccountSelector": selector} if selects else {"serviceAccountNames": names}),
    )


def _text(number: int, key: int, value: int) -> str:
    return f"{number:04}-{key}{value}-" + "v" * 29
