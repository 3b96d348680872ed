{{- define "trustbind.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- /* First part of all names; short enough for what comes behind it. */ -}}
{{- define "trustbind.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "trustbind.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "trustbind.webhook.name" -}}
{{- include "trustbind.fullname" . }}-webhook
{{- end -}}

{{- define "trustbind.operator.name" -}}
{{- include "trustbind.fullname" . }}-operator
{{- end -}}

{{- define "trustbind.webhook.serviceAccountName" -}}
{{- $own := .Values.webhook.serviceAccount -}}
{{- default (ternary (include "trustbind.webhook.name" .) "default" $own.create) $own.name -}}
{{- end -}}

{{- define "trustbind.operator.serviceAccountName" -}}
{{- $own := .Values.operator.serviceAccount -}}
{{- default (ternary (include "trustbind.operator.name" .) "default" $own.create) $own.name -}}
{{- end -}}

{{- define "trustbind.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "trustbind.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: trustbind
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "trustbind.selectorLabels" -}}
app.kubernetes.io/name: {{ include "trustbind.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "trustbind.webhook.labels" -}}
{{ include "trustbind.labels" . }}
app.kubernetes.io/component: webhook
{{- end -}}

{{- define "trustbind.webhook.selectorLabels" -}}
{{ include "trustbind.selectorLabels" . }}
app.kubernetes.io/component: webhook
{{- end -}}

{{- define "trustbind.operator.labels" -}}
{{ include "trustbind.labels" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "trustbind.operator.selectorLabels" -}}
{{ include "trustbind.selectorLabels" . }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "trustbind.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "trustbind.imagePullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* What restricted Pod Security asks for, and some more. */ -}}
{{- define "trustbind.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "trustbind.securityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* Arguments: the values of one half, and its labels that select pods. */ -}}
{{- define "trustbind.scheduling" -}}
{{- $own := .values -}}
{{- with $own.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $own.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $own.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if $own.topologySpreadConstraints }}
  {{- toYaml $own.topologySpreadConstraints | nindent 2 }}
{{- else }}
  {{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- $.selectorLabels | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* The namespaces that a webhook leaves alone, as JSON. Arguments: context, values. */ -}}
{{- define "trustbind.excludedNamespaces" -}}
{{- concat (list .context.Release.Namespace) .values.excludedNamespaces | uniq | toJson -}}
{{- end -}}

{{- /* The namespaces whose pods start while no webhook answers, as JSON. Argument: the chart's context. */ -}}
{{- define "trustbind.failOpenNamespaces" -}}
{{- $excluded := include "trustbind.excludedNamespaces" (dict "context" . "values" .Values.webhook.mutating) | fromJsonArray -}}
{{- $all := concat (list "kube-system") .Values.webhook.mutating.failOpenNamespaces | uniq -}}
{{- $left := list -}}
{{- range $all }}{{- if not (has . $excluded) }}{{- $left = append $left . }}{{- end }}{{- end -}}
{{- toJson $left -}}
{{- end -}}

{{- /* Which namespaces a webhook is asked about. Arguments: values, and what counts besides the user's conditions. */ -}}
{{- define "trustbind.namespaceSelector" -}}
{{- with .values.namespaceSelector.matchLabels }}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{- end }}
matchExpressions:
  {{- range .extra }}
  - {{ toJson . }}
  {{- end }}
  {{- with .values.namespaceSelector.matchExpressions }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{- /* Name of the Secret with the webhook's certificate. */ -}}
{{- define "trustbind.certificateSecret" -}}
{{- if eq .Values.certificates.mode "provided" -}}
{{- required "certificates.provided.secretName is needed with certificates.mode provided" .Values.certificates.provided.secretName -}}
{{- else -}}
{{- include "trustbind.webhook.name" . }}-tls
{{- end -}}
{{- end -}}

{{- /* Annotations of a webhook configuration. */ -}}
{{- define "trustbind.webhook.configurationAnnotations" -}}
{{- if eq .Values.certificates.mode "certManager" }}
annotations:
  cert-manager.io/inject-ca-from: {{ .Release.Namespace }}/{{ include "trustbind.webhook.name" . }}
{{- end }}
{{- end -}}

{{- /* clientConfig of a webhook. With mode self and certManager caBundle is not ours: left out, an upgrade keeps it. */ -}}
{{- define "trustbind.webhook.clientConfig" -}}
service:
  name: {{ include "trustbind.webhook.name" .context }}
  namespace: {{ .context.Release.Namespace }}
  path: {{ .path }}
  port: {{ .context.Values.webhook.service.port }}
{{- if eq .context.Values.certificates.mode "provided" }}
caBundle: {{ required "certificates.provided.caBundle is needed with certificates.mode provided" .context.Values.certificates.provided.caBundle }}
{{- end }}
{{- end -}}

{{- /* The settings files. What only the chart can know is added here. */ -}}
{{- define "trustbind.webhook.settings" -}}
{{- $name := include "trustbind.webhook.name" . -}}
{{- $mode := ternary "self" "files" (eq .Values.certificates.mode "self") -}}
{{- $known := dict "mode" $mode "namespace" .Release.Namespace "secretName" (include "trustbind.certificateSecret" .) "serviceName" $name "mutatingConfiguration" $name "validatingConfiguration" (ternary $name "" .Values.webhook.validating.enabled) -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.webhook.settings) (dict "certificates" $known)) -}}
{{- end -}}

{{- define "trustbind.operator.settings" -}}
{{- $own := .Values.webhook.mutating -}}
{{- $excluded := include "trustbind.excludedNamespaces" (dict "context" . "values" $own) | fromJsonArray -}}
{{- $scope := dict "excludedNamespaces" $excluded "namespaceSelector" $own.namespaceSelector -}}
{{- toYaml (mergeOverwrite (deepCopy .Values.operator.settings) (dict "pods" $scope)) -}}
{{- end -}}

{{- define "trustbind.operator.leaseNamespace" -}}
{{- default .Release.Namespace .Values.operator.settings.lease.namespace -}}
{{- end -}}

{{- /*
Whether RoleGrants and AWSAccounts have to be created as hooks. Helm refuses objects whose kind the API server does not
know when it begins. So where it does not know them yet, they are created after the definitions; the next upgrade takes
them over as ordinary parts of the release.
*/ -}}
{{- define "trustbind.objectsAreHooks" -}}
{{- if and .Values.crds.enabled .Release.IsInstall (not (.Capabilities.APIVersions.Has "trustbind.dev/v1alpha1")) (or .Values.accounts .Values.grants) -}}
true
{{- end -}}
{{- end -}}

{{- /* Annotations of RoleGrants and AWSAccounts; the release's are what lets the next upgrade take them over. */ -}}
{{- define "trustbind.objectAnnotations" -}}
{{- if include "trustbind.objectsAreHooks" . }}
annotations:
  helm.sh/hook: post-install
  meta.helm.sh/release-name: {{ .Release.Name }}
  meta.helm.sh/release-namespace: {{ .Release.Namespace }}
{{- end }}
{{- end -}}

{{- /*
Whether the cluster serves ValidatingAdmissionPolicies: Kubernetes 1.30 and later. Helm knows the kinds of a cluster that
it asks, Pod among them. Without a cluster (helm template) it knows a version alone.
*/ -}}
{{- define "trustbind.servesAdmissionPolicies" -}}
{{- $kinds := .Capabilities.APIVersions -}}
{{- if $kinds.Has "v1/Pod" -}}
{{- if $kinds.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" -}}
true
{{- end -}}
{{- else if semverCompare ">=1.30-0" .Capabilities.KubeVersion.Version -}}
true
{{- end -}}
{{- end -}}

{{- /* Whether policies limit the rights of our own service accounts. */ -}}
{{- define "trustbind.limitsRights" -}}
{{- if and .Values.admissionPolicies.rights (include "trustbind.servesAdmissionPolicies" .) -}}
true
{{- end -}}
{{- end -}}

{{- /*
The beginning of a ValidatingAdmissionPolicy for one service account of this release: everything but variables and
validations. A request of any other user is not looked at. Arguments: context, name, labels, serviceAccount, groups,
resources, operations; hook: annotations of a hook.
*/ -}}
{{- define "trustbind.policyFor" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name }}
  labels:
    {{- .labels | nindent 4 }}
  {{- with .hook }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  # An expression that fails refuses the request; it is a request of this service account alone.
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
      - apiGroups: {{ toJson .groups }}
        apiVersions: ["*"]
        operations: {{ toJson .operations }}
        resources: {{ toJson .resources }}
  matchConditions:
    - name: service-account
      expression: request.userInfo.username == "system:serviceaccount:{{ .context.Release.Namespace }}:{{ .serviceAccount }}"
{{- end -}}

{{- /* The binding that puts a policy into effect. Arguments: name, labels; hook. */ -}}
{{- define "trustbind.policyBinding" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels:
    {{- .labels | nindent 4 }}
  {{- with .hook }}
  annotations:
    {{- . | nindent 4 }}
  {{- end }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
{{- end -}}

{{- /* CEL: these fields are as they were. Arguments: at (such as metadata), fields. */ -}}
{{- define "trustbind.sameFields" -}}
{{- $same := list -}}
{{- range .fields -}}
{{- $same = append $same (printf "object.%s.?%s == oldObject.%s.?%s" $.at . $.at .) -}}
{{- end -}}
{{- join "\n&& " $same -}}
{{- end -}}

{{- /* One entry of the mutating configuration. Arguments: context, failurePolicy, names (of namespaces). */ -}}
{{- define "trustbind.webhook.mutating" -}}
{{- $own := .context.Values.webhook.mutating -}}
admissionReviewVersions: [v1]
clientConfig:
  {{- include "trustbind.webhook.clientConfig" (dict "context" .context "path" "/mutate") | nindent 2 }}
rules:
  # Volumes and variables of a pod cannot be changed later, so its creation is all there is to see.
  - apiGroups: [""]
    apiVersions: [v1]
    operations: [CREATE]
    resources: [pods]
    scope: Namespaced
# A pod that is asked for in another version of the API is converted and comes, too.
matchPolicy: Equivalent
failurePolicy: {{ .failurePolicy }}
timeoutSeconds: {{ $own.timeoutSeconds }}
# Nothing but the answer comes of a request, so that dry runs are answered, too.
sideEffects: None
reinvocationPolicy: {{ $own.reinvocationPolicy }}
matchConditions:
  # The kubelet runs a static pod as its file says, whatever is done to the mirror.
  - name: is-no-mirror-pod
    expression: "!has(object.metadata.annotations) || !('kubernetes.io/config.mirror' in object.metadata.annotations)"
# This webhook does not depend on itself; and a namespace that wants to be left alone says so by a label.
namespaceSelector:
  {{- $optOut := dict "key" "trustbind.dev/inject" "operator" "NotIn" "values" (list "false") }}
  {{- include "trustbind.namespaceSelector" (dict "values" $own "extra" (list .names $optOut)) | nindent 2 }}
{{- with $own.objectSelector }}
objectSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
