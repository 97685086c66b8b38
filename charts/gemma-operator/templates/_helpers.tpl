{{- define "gemma.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "gemma.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else if contains (include "gemma.name" .) .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "gemma.name" .) | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gemma.serviceAccountName" -}}
{{- default (include "gemma.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "gemma.selectorLabels" -}}
app.kubernetes.io/name: {{ include "gemma.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "gemma.labels" -}}
{{ include "gemma.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Annotations of an object that has none of its own: include "gemma.annotations" . | nindent 2 */}}
{{- define "gemma.annotations" -}}
{{- with .Values.commonAnnotations -}}
annotations: {{- toYaml . | nindent 2 }}
{{- end -}}
{{- end -}}

{{/* Egress that every pod of the chart needs, by port: no selector names the API server, or a node-local DNS cache. */}}
{{- define "gemma.apiEgress" -}}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
- ports:
    {{- range .Values.networkPolicy.apiServerPorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{/* Ports of the Prometheus and the front door that the settings name, for a policy. */}}
{{- define "gemma.metricPorts" -}}
{{- $scaling := default dict .Values.settings.scaling -}}
{{- $ports := list -}}
{{- range $key := list "prometheusUrl" "frontDoorUrl" -}}
{{- with get $scaling $key -}}
{{- $url := urlParse . -}}
{{- $port := trimPrefix ":" (regexFind ":[0-9]+$" $url.host) -}}
{{- $ports = append $ports (printf "{port: %s, protocol: TCP}" (default (ternary "443" "80" (eq $url.scheme "https")) $port)) -}}
{{- end -}}
{{- end -}}
{{- if .Values.frontDoor.enabled }}{{ $ports = append $ports "{port: 9090, protocol: TCP}" }}{{ end -}}
{{- uniq $ports | join ", " -}}
{{- end -}}

{{/* Reference of one image: include "gemma.image" (list $ .Values.images.gateway) */}}
{{- define "gemma.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- $path := printf "%s/%s" (trimSuffix "/" $root.Values.images.registry) $image.name -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $path $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $path (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
{{- end -}}
