{{- define "gemma.frontDoorName" -}}
{{- printf "%s-front-door" (include "gemma.fullname" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "gemma.frontDoorSelector" -}}
app.kubernetes.io/name: {{ include "gemma.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: front-door
{{- end -}}

{{- define "gemma.frontDoorLabels" -}}
{{ include "gemma.frontDoorSelector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* What the front door reads: which endpoints there are, and which of their pods take requests. */}}
{{- define "gemma.frontDoorRules" -}}
- apiGroups: [serving.gemma-operator.dev]
  resources: [gemmadeployments]
  verbs: [list, watch]
- apiGroups: [discovery.k8s.io]
  resources: [endpointslices]
  verbs: [list, watch]
{{- end -}}
