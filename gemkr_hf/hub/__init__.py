"""Hugging Face Hub: upload, exclusion rules, download, cards; checkpoints and adapters."""

from typing import TYPE_CHECKING

from gemkr_hf.utils.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from gemkr_hf.hub.checkpoint_loading import load_checkpoint
    from gemkr_hf.hub.checkpoint_saving import save_adapter, save_model
    from gemkr_hf.hub.checkpoint_upload import plan_adapter, plan_model, push_adapter, push_model
    from gemkr_hf.hub.download import HubError, download_files, download_folder
    from gemkr_hf.hub.exclusion_rules import UploadRefused
    from gemkr_hf.hub.model_card import CardSettings
    from gemkr_hf.hub.training_record import (
        TRAINING_RECORD_FILE,
        EvaluationResult,
        read_training_record,
        record_results,
        write_training_record,
    )
    from gemkr_hf.hub.upload_plan import PlannedFile, UploadPlan
    from gemkr_hf.hub.uploader import UploadResult, check_plan, upload

__getattr__ = lazy_exports(
    __name__,
    {
        "checkpoint_loading": ["load_checkpoint"],
        "checkpoint_saving": ["save_adapter", "save_model"],
        "checkpoint_upload": ["plan_adapter", "plan_model", "push_adapter", "push_model"],
        "download": ["HubError", "download_files", "download_folder"],
        "exclusion_rules": ["UploadRefused"],
        "model_card": ["CardSettings"],
        "training_record": [
            "EvaluationResult",
            "TRAINING_RECORD_FILE",
            "read_training_record",
            "record_results",
            "write_training_record",
        ],
        "upload_plan": ["PlannedFile", "UploadPlan"],
        "uploader": ["UploadResult", "check_plan", "upload"],
    },
    renamed={
        "FACTS_FILE": "TRAINING_RECORD_FILE",
        "Refused": "UploadRefused",
        "Result": "EvaluationResult",
        "Uploaded": "UploadResult",
        "read_facts": "read_training_record",
        "write_facts": "write_training_record",
    },
)

__all__ = [
    "TRAINING_RECORD_FILE",
    "CardSettings",
    "EvaluationResult",
    "HubError",
    "PlannedFile",
    "UploadPlan",
    "UploadRefused",
    "UploadResult",
    "check_plan",
    "download_files",
    "download_folder",
    "load_checkpoint",
    "plan_adapter",
    "plan_model",
    "push_adapter",
    "push_model",
    "read_training_record",
    "record_results",
    "save_adapter",
    "save_model",
    "upload",
    "write_training_record",
]
