"""Fetches a model's weights onto a volume: verified, resumable, and never anything that can run code.

    python -m gemma_serving.weights --repository OWNER/NAME --revision main --endpoint URL \\
        --file '*.safetensors' --file '*.json' --target /weights

Layout below the target: `OWNER--NAME/COMMIT/files`, and `OWNER--NAME/REVISION`, a link to the commit that the
revision was last resolved to. `manifest.json` in a commit's folder is written last: what it lists is whole.
"""
