{{/*
Who scrapes, as a comma-separated list of PrometheusOperator, GoogleManaged, Annotations.
Auto: every kind of monitor that the cluster has a definition of; annotations where it has none.
*/}}
{{- define "gemma.scrapers" -}}
{{- $has := .Capabilities.APIVersions -}}
{{- if eq .Values.monitoring.scrape "Auto" -}}
{{- $found := list -}}
{{- if $has.Has "monitoring.coreos.com/v1/PodMonitor" }}{{ $found = append $found "PrometheusOperator" }}{{ end -}}
{{- if $has.Has "monitoring.googleapis.com/v1/ClusterPodMonitoring" }}{{ $found = append $found "GoogleManaged" }}{{ end -}}
{{- default (list "Annotations") $found | join "," -}}
{{- else if ne .Values.monitoring.scrape "None" -}}
{{- .Values.monitoring.scrape -}}
{{- end -}}
{{- end -}}

{{- define "gemma.monitoringLabels" -}}
{{ include "gemma.labels" . }}
{{- with .Values.monitoring.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Serving pods of every GemmaDeployment but those that asked not to be scraped (spec.monitoring.scrape: None). */}}
{{- define "gemma.servingSelector" -}}
matchLabels: {serving.gemma-operator.dev/role: serving}
matchExpressions:
  - {key: serving.gemma-operator.dev/scrape, operator: NotIn, values: [none]}
{{- end -}}

{{/* The rules file, with the runbooks where this installation has them. */}}
{{- define "gemma.rules" -}}
{{- .Files.Get "rules/gemma.rules.yaml" | replace "https://gemma-operator.dev/runbooks" (trimSuffix "/" .Values.monitoring.rules.runbookBaseUrl) -}}
{{- end -}}
