"""Fetches a model's weights onto a volume: verified, resumable, and never anything that can run code.

    python -m gemma_serving.weights --repository OWNER/NAME --revision main --endpoint URL \\
        --file '*.safetensors' --file '*.json' --target /weights

or with `--uri gs://bucket/folder` (or `s3://`) in place of repository and revision.

Layout below the target: `OWNER--NAME/COMMIT/files`, and `OWNER--NAME/REVISION`, a link to the commit that the
revision was last resolved to; of a bucket, `SCHEME--BUCKET--HASH/REVISION/files` and `latest`. What
`manifest.json` in a commit's folder lists is whole: it is written last.
"""
