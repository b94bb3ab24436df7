SwaggerUIBundle({ url: "../openapi.json", dom_id: "#explorer", deepLinking: true, validatorUrl: null });
