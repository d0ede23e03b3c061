{{/* SPDX-License-Identifier: Apache-2.0 */}}
{{- define "kepler.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kepler.selector" -}}
app.kubernetes.io/name: kepler
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "kepler.labels" -}}
{{ include "kepler.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "kepler.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "kepler.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "kepler.priorityClass" -}}
{{- if .Values.priorityClass.create -}}
{{- default (include "kepler.fullname" .) .Values.priorityClass.name -}}
{{- else -}}
{{- .Values.priorityClass.name -}}
{{- end -}}
{{- end -}}

{{- define "kepler.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/* Whether pods' names are asked for: not where nothing of the host is seen. */}}
{{- define "kepler.knowsPods" -}}
{{- if ne .Values.profile "restricted" -}}yes{{- end -}}
{{- end -}}

{{/* What a profile sets, in the daemon's own words. */}}
{{- define "kepler.base" -}}
log: {format: json}
{{- if eq .Values.profile "full" }}
kubernetes: {mode: api}
sources:
  # Container runtimes hide powercap in a container's own /sys, so the host's is read.
  rapl: {root: /host/sys/class/powercap}
  rapl-perf: {root: /host/sys/bus/event_source/devices/power}
  hwmon: {root: /host/sys/class/hwmon}
  acpi: {root: /host/sys/class/hwmon}
  intel: {root: /host/sys/class/drm}
  amd: {root: /host/sys/class/drm}
{{- else if eq .Values.profile "unprivileged" }}
kubernetes: {mode: api}
probes: {cpu_time: proc}
sources:
  cpu: [hwmon, estimator]
  dram: [hwmon, estimator]
  platform: [redfish, acpi, estimator]
  hwmon: {root: /host/sys/class/hwmon}
  acpi: {root: /host/sys/class/hwmon}
{{- else }}
kubernetes: {mode: "off"}
probes: {cpu_time: proc}
exporter: {levels: [node]}
sources:
  cpu: [estimator]
  dram: [estimator]
  platform: [redfish, estimator]
  gpu: []
{{- end }}
{{- end -}}

{{- define "kepler.config" -}}
{{- $config := include "kepler.base" . | fromYaml -}}
{{- if .Values.gpu.libraryHostPath -}}
{{- $config = mergeOverwrite $config (dict "sources" (dict "nvml" (dict "library" "/host/nvidia/libnvidia-ml.so.1"))) -}}
{{- end -}}
{{- if .Values.redfish.enabled -}}
{{- $redfish := dict "username" .Values.redfish.username "password_file" "/etc/kepler-redfish/password" -}}
{{- if .Values.redfish.caKey -}}
{{- $_ := set $redfish "ca_file" (printf "/etc/kepler-redfish/%s" .Values.redfish.caKey) -}}
{{- end -}}
{{- $config = mergeOverwrite $config (dict "sources" (dict "redfish" $redfish)) -}}
{{- end -}}
{{- mergeOverwrite $config (deepCopy .Values.config) | toYaml -}}
{{- end -}}

{{/* A list of what a Prometheus should call a target by. */}}
{{- define "kepler.relabelings" -}}
# Which node it is, and not which pod happens to measure it: series go on when a pod is replaced.
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: instance
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: node
- action: labeldrop
  regex: (pod|container|endpoint|service)
{{- if .meterExpected }}
- targetLabel: meter_expected
  replacement: "true"
{{- end }}
{{- with .relabelings }}
{{ toYaml . }}
{{- end }}
{{- end -}}
