"""What of the facts may be shown and written to a file, which people attach to public reports: an allow-list.

Each field is named here, and its value has to have the form that the field is for. What has another form may be a
secret in the wrong place: its kind and its length stand in its place. So it is with what tells nothing about a role.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
import yaml
from msgspec import structs

from trustbind.api.annotations import AnnotationKeys, skip_containers
from trustbind.api.labels import GATE, INJECT, MANAGED_LABEL, SESSION_NAME
from trustbind.api.near_misses import near_role_keys
from trustbind.diagnosis.error_text import classify
from trustbind.diagnosis.facts import (
    SET,
    Bundle,
    CallerFacts,
    Container,
    EnvFrom,
    EnvVar,
    Fact,
    Mount,
    MutatingWebhook,
    PodFacts,
    ProviderFacts,
    RoleFacts,
    Selector,
    ServiceAccountFacts,
    TokenVolume,
)
from trustbind.diagnosis.model import Wanted, part
from trustbind.identity import session_names
from trustbind.identity.arns import RoleArn
from trustbind_cli.commands.doctor.environment import NAMES, PROXIES
from trustbind_cli.commands.doctor.forms import (
    ARN,
    FILE,
    FOLDER,
    NAME,
    PATH,
    REGION,
    SECONDS,
    SUBJECT,
    SWITCH,
    TIME,
    UID,
    URL,
    instead,
    kept,
    proxy,
    role_text,
    shown_audience,
    unproxied,
    words,
)

__all__ = ["as_file", "shown"]

Json = Mapping[str, Any]

_PHASES: Final = frozenset({"Pending", "Running", "Succeeded", "Failed", ""})
_NAMESPACE: Final = "kubernetes.io/metadata.name"

_SETTINGS: Final[Mapping[str, Mapping[str, re.Pattern[str] | None]]] = {
    "injection": {
        "annotationPrefix": NAME,
        "audience": None,
        "mountPath": FOLDER,
        "tokenExpirationSeconds": SECONDS,
        "region": REGION,
        "stsRegionalEndpoints": SWITCH,
        "cluster": NAME,
        "sessionNames": SWITCH,
        "waitForBindings": SWITCH,
    },
    "podIdentity": {"audience": None, "mountPath": FOLDER, "volumeName": NAME, "tokenPath": NAME, "fullUri": URL},
}
"""The webhook's settings that decide what a pod gets."""

_SPEC: Final = (
    *("roleArn", "serviceAccountNames", "serviceAccountSelector", "federatedSubjects", "method", "source"),
    *("targetRoleArn", "externalId", "audience", "session", "token", "region", "conditions", "disableSessionTags"),
    *("sessionPolicy", "profile", "waitUntilReady", "deletionPolicy", "adopt"),
)
"""Fields of a RoleBinding; the API server knows no others."""
_CONDITION: Final = ("type", "status", "reason", "lastTransitionTime", "observedGeneration")
_OF_TOKEN: Final = ("exp", "iat", "nbf")


def shown(bundle: Bundle, wanted: Wanted, keys: AnnotationKeys) -> Bundle:
    """Return the facts without what is not on the list.

    Args:
        bundle: the facts.
        wanted: what the pod should have; a variable with that value is kept.
        keys: the annotations that the webhook reads.
    """
    return _Disclosure(bundle, wanted, keys).bundle()


def as_file(bundle: Bundle) -> str:
    """Return what is written to a file: of what could not be seen, without the words of others."""
    return msgspec.json.format(msgspec.json.encode(_without_details(msgspec.to_builtins(bundle)))).decode() + "\n"


def _without_details(value: Any) -> Any:
    if isinstance(value, dict):
        is_hidden = value.keys() <= {"seen", "why", "detail"}
        return {key: _without_details(each) for key, each in value.items() if not (is_hidden and key == "detail")}
    return [_without_details(each) for each in value] if isinstance(value, list) else value


@dataclass(slots=True)
class _Labels:
    """Which labels decide.

    Attributes:
        values: by key, the values that a selector names.
    """

    values: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, bundle: Bundle) -> _Labels:
        found = cls()
        for webhook in bundle.webhooks.value or ():
            for selector in (webhook.namespace_selector, webhook.object_selector):
                found._add(msgspec.to_builtins(selector))
        for body in bundle.bindings.value or ():
            found._add(part(part(body, "spec"), "serviceAccountSelector"))
        return found

    def _add(self, selector: Json) -> None:
        for key, value in part(selector, "matchLabels").items():
            self.values.setdefault(str(key), set()).add(str(value))
        terms = selector.get("matchExpressions")
        for term in terms if isinstance(terms, list) else ():
            if isinstance(term, Mapping):
                listed = term.get("values")
                values = listed if isinstance(listed, list) else ()
                self.values.setdefault(str(term.get("key")), set()).update(map(str, values))

    def shown(self, labels: Mapping[str, str], role_key: str, namespace: str = "") -> dict[str, str]:
        near = {role_key, INJECT, *near_role_keys(labels, role_key)}
        found = {}
        for key, value in labels.items():
            if key in self.values:
                found[key] = value if value in self.values[key] else instead(value)
            elif key in near:
                found[key] = SET
            elif key == _NAMESPACE and value == namespace:
                found[key] = value
        return found


class _Disclosure:
    def __init__(self, bundle: Bundle, wanted: Wanted, keys: AnnotationKeys) -> None:
        self._bundle = bundle
        self._wanted = wanted
        self._keys = keys
        self._labels = _Labels.of(bundle)
        account = bundle.service_account.value
        settings = _given_settings(bundle.settings.value or "")
        texts = [account.annotations.get(keys.audience, "").strip()] if account else []
        texts += [str(part(settings, section).get("audience", "")) for section in _SETTINGS]
        self._audiences = {text: stand_in for text in texts if (stand_in := shown_audience(text)) != text}
        """What stands for an audience that is no host, in policies as well, so that they agree as before."""

    def bundle(self) -> Bundle:
        bundle = self._bundle
        facts: dict[str, Fact[Any]] = {
            "settings": _changed(bundle.settings, _settings),
            "pod": _changed(bundle.pod, self._pod),
            "service_account": _changed(bundle.service_account, self._account),
            "namespace_labels": _changed(
                bundle.namespace_labels,
                lambda labels: self._labels.shown(labels, self._keys.role_arn, bundle.target.namespace),
            ),
            "bindings": _changed(bundle.bindings, lambda bodies: [_binding(body) for body in bodies]),
            "webhooks": _changed(bundle.webhooks, lambda entries: [_webhook(entry) for entry in entries]),
            "issuer": _changed(bundle.issuer, lambda text: kept(text, URL)),
            "claims": _changed(bundle.claims, self._claims),
            "header": _changed(
                bundle.header, lambda header: {key: header[key] for key in ("alg", "kid") if key in header}
            ),
            "caller": _changed(bundle.caller, lambda caller: CallerFacts(caller.account)),
            "provider": _changed(bundle.provider, self._provider),
            "role": _changed(bundle.role, self._role),
            "target_role": _changed(bundle.target_role, self._role),
            "public": _changed(bundle.public, lambda each: structs.replace(each, problem=words(each.problem))),
            "change": _changed(
                bundle.change,
                lambda each: structs.replace(each, author=each.author if ARN.fullmatch(each.author) else ""),
            ),
            "exchange": _changed(bundle.exchange, lambda each: structs.replace(each, error=words(each.error))),
        }
        target = structs.replace(bundle.target, container=kept(bundle.target.container, NAME))
        return structs.replace(bundle, target=target, error=self._error(), **facts)

    def _error(self) -> str:
        if not self._bundle.error.strip():
            return ""
        roles = [role for role in (self._wanted.role, self._wanted.web_role) if role is not None]
        return classify(self._bundle.error).without_details(roles)

    # --- the cluster --------------------------------------------------------------------------------------------

    def _pod(self, pod: PodFacts) -> PodFacts:
        keys = self._keys
        skipped = skip_containers(pod.annotations, keys.skip_containers)
        named = [container.name for container in pod.containers if container.name in skipped]
        annotations = self._annotations(pod.annotations, {keys.role_arn: SET, keys.skip_containers: ",".join(named)})
        volumes = {volume.name for volume in pod.tokens}
        return PodFacts(
            name=kept(pod.name, NAME),
            created=kept(pod.created, TIME),
            phase=pod.phase if pod.phase in _PHASES else "Unknown",
            service_account=kept(pod.service_account, NAME),
            annotations=annotations,
            labels=self._labels.shown(pod.labels, keys.role_arn),
            containers=[self._container(each, volumes) for each in pod.containers],
            tokens=[self._token(volume) for volume in pod.tokens],
            gates=[gate for gate in pod.gates if gate == GATE],
            node=kept(pod.node, NAME),
            fs_group=pod.fs_group,
            host_network=pod.host_network,
        )

    def _account(self, account: ServiceAccountFacts) -> ServiceAccountFacts:
        own = account.annotations
        texts = {}
        if self._keys.role_arn in own:
            texts[self._keys.role_arn] = role_text(own[self._keys.role_arn])
        if self._keys.audience in own:
            texts[self._keys.audience] = shown_audience(own[self._keys.audience].strip())
        return ServiceAccountFacts(
            name=kept(account.name, NAME),
            uid=kept(account.uid, UID),
            annotations=self._annotations(own, texts),
            labels=self._labels.shown(account.labels, self._keys.role_arn),
            annotated=kept(account.annotated, TIME),
        )

    def _annotations(self, given: Mapping[str, str], texts: Mapping[str, str]) -> dict[str, str]:
        """Return the annotations that decide.

        Args:
            given: all of them.
            texts: what stands for the values of some; only of those that are given.
        """
        keys = self._keys
        forms = {
            keys.sts_regional_endpoints: SWITCH,
            keys.token_expiration: SECONDS,
            INJECT: SWITCH,
            SESSION_NAME: SWITCH,
        }
        near = near_role_keys(given, keys.role_arn)
        found = {}
        for key, value in given.items():
            if key in texts:
                found[key] = texts[key]
            elif key in forms:
                found[key] = kept(value.strip(), forms[key])
            elif key in near:
                found[key] = SET
        return found

    def _container(self, container: Container, volumes: set[str]) -> Container:
        return Container(
            name=kept(container.name, NAME),
            env=[self._variable(each) for each in container.env if each.name in NAMES],
            env_from=[_source(each) for each in container.env_from],
            volume_mounts=[self._mount(each) for each in container.volume_mounts if each.name in volumes],
            run_as_user=container.run_as_user,
        )

    def _variable(self, variable: EnvVar) -> EnvVar:
        name, value = variable.name, variable.value
        if value is None:
            return EnvVar(name, None, variable.value_from)
        return EnvVar(name, value if (name, value) in self._wanted.env else self._value(name, value))

    def _value(self, name: str, value: str) -> str | None:
        """Return what stands for a variable's value; None where only counts that it is set."""
        if name in PROXIES:
            return proxy(value)
        if name.upper() == "NO_PROXY":
            return unproxied(value)
        if name == "AWS_PROFILE":
            return value if value in self._wanted.profiles else None
        if name == "AWS_ROLE_SESSION_NAME":  # a password has the form of a session name as well
            return None if session_names.is_valid(value) else instead(value)
        if name == "AWS_ROLE_ARN":
            return value if RoleArn.or_none(value) else instead(value)
        if name in {"AWS_REGION", "AWS_DEFAULT_REGION"}:
            return kept(value, REGION)
        if name in {"AWS_SDK_LOAD_CONFIG", "AWS_STS_REGIONAL_ENDPOINTS"}:
            return kept(value, SWITCH)
        if name in {"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"}:
            return kept(value, PATH)
        return None

    def _mount(self, mount: Mount) -> Mount:
        path = mount.mount_path
        path = path if path.rstrip("/") == self._wanted.mount_path.rstrip("/") else kept(path, PATH)
        sub_path = mount.sub_path if mount.sub_path is None else kept(mount.sub_path, FILE)
        return Mount(kept(mount.name, NAME), path, sub_path)

    def _token(self, volume: TokenVolume) -> TokenVolume:
        path = volume.path if volume.path == self._wanted.token_path else kept(volume.path, FILE)
        return TokenVolume(kept(volume.name, NAME), self._audience(volume.audience), path, volume.default_mode)

    # --- the token and AWS --------------------------------------------------------------------------------------

    def _claims(self, claims: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in claims.items():
            if key in {"aud", "azp"}:
                found[key] = self._claimed_audience(value)
            elif key in _OF_TOKEN and isinstance(value, int | float):
                found[key] = value
            elif key == "iss" and isinstance(value, str):
                found[key] = kept(value, URL)
            elif key == "sub" and isinstance(value, str):
                found[key] = kept(value, SUBJECT)
            elif key == "kubernetes.io":
                account = part(value, "serviceaccount")
                named = {"name": NAME, "uid": UID}
                found[key] = {"serviceaccount": {k: kept(str(account[k]), f) for k, f in named.items() if k in account}}
            else:
                found[key] = _covered(value)
        return found

    def _claimed_audience(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._audience(each) if isinstance(each, str) else _covered(each) for each in value]
        return self._audience(value) if isinstance(value, str) else _covered(value)

    def _audience(self, text: str) -> str:
        if text in self._audiences:
            return self._audiences[text]
        return text if text == self._wanted.audience else shown_audience(text)

    def _provider(self, provider: ProviderFacts) -> ProviderFacts:
        return structs.replace(provider, audiences=[self._audiences.get(each, each) for each in provider.audiences])

    def _role(self, role: RoleFacts) -> RoleFacts:
        return structs.replace(role, trust_policy=self._replaced(role.trust_policy))

    def _replaced(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._replaced(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._replaced(each) for each in value]
        return self._audiences.get(value, value) if isinstance(value, str) else value


def _changed(fact: Fact[Any], change: Any) -> Fact[Any]:
    return fact if fact.value is None else structs.replace(fact, value=change(fact.value))


def _covered(value: Any) -> Any:
    """Return what stands for a claim that trustbind does not know."""
    if isinstance(value, Mapping):
        return {f"name-{number}": _covered(each) for number, each in enumerate(value.values(), 1)}
    if isinstance(value, list):
        return [_covered(each) for each in value]
    return instead(value) if isinstance(value, str) else value


def _source(each: EnvFrom) -> EnvFrom:
    kind, slash, name = each.source.partition("/")
    keys = each.keys
    if keys.value is not None:
        keys = structs.replace(keys, value=[key for key in keys.value if each.prefix + key in NAMES])
    prefix = each.prefix if keys.value or any(name.startswith(each.prefix) for name in NAMES) else ""
    return EnvFrom(f"{kind}{slash}{kept(name, NAME)}", prefix, keys)


def _given_settings(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        return None


def _settings(text: str) -> str:
    given = _given_settings(text)
    found: dict[str, dict[str, Any]] = {}
    for section, forms in _SETTINGS.items():
        for name, value in part(given, section).items():
            form = forms.get(name)
            if isinstance(value, str) and name == "audience":
                found.setdefault(section, {})[name] = shown_audience(value)
            elif form is not None and (
                isinstance(value, bool | int) or (isinstance(value, str) and form.fullmatch(value))
            ):
                found.setdefault(section, {})[name] = value
    return yaml.safe_dump(found, sort_keys=False) if found else ""


def _binding(body: Json) -> dict[str, Any]:
    metadata, spec = part(body, "metadata"), part(body, "spec")
    kept = ("name", "namespace", "uid", "generation", "creationTimestamp", "deletionTimestamp")
    labels = {key: value for key, value in part(metadata, "labels").items() if key == MANAGED_LABEL}
    listed = part(body, "status").get("conditions")
    conditions = [each for each in listed if isinstance(each, Mapping)] if isinstance(listed, list) else []
    return {
        "apiVersion": body.get("apiVersion", ""),
        "kind": body.get("kind", ""),
        "metadata": {key: metadata[key] for key in kept if key in metadata} | ({"labels": labels} if labels else {}),
        "spec": {key: spec[key] for key in _SPEC if key in spec},
        "status": {
            "conditions": [
                {key: each[key] for key in _CONDITION if key in each} | {"message": words(str(each.get("message", "")))}
                for each in conditions
            ]
        },
    }


def _webhook(entry: MutatingWebhook) -> MutatingWebhook:
    """Return an entry; of other webhooks than trustbind's only the names count."""
    if entry.name.endswith(".trustbind.dev"):
        return entry
    return MutatingWebhook(kept(entry.configuration, NAME), kept(entry.name, NAME), "", Selector(), Selector())
